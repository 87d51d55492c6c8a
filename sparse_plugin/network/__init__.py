"""Reading somebody's network: sites, finding D1, the flow of an image, encoder scales, the synthesis operator, adapters."""
