"""The commands of `cista`, one file each."""
