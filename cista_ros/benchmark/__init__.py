"""How fast this machine is: networks by runtime, size and precision; the stages around them."""
