"""Pictures -> moving scenes -> events, by the ESIM pixel, batched in torch on the CPU or a GPU."""
