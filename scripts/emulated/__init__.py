"""An emulated Raspberry Pi: what scripts/pi consists of."""
