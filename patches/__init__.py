"""Where Γ is in third-party generators, and how their trainers switch a regularizer on. One flat file per host."""
