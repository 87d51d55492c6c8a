"""What is measured of Γ, and how it is logged."""
