"""What the docks and pages show of the store: one catalogue, and Qt item models over it."""
