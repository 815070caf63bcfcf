"""Small parts without knowledge of events or networks: files, cache, downloads, threads, drawing, video."""
