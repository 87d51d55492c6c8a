"""Reading somebody's network: sites, finding D1, the flow of an image, encoder scales, the synthesis operator, adapters.

`adapters` has the table that commands list without torch, so it imports `sites` where a generator is at hand; the rest needs torch.
"""
