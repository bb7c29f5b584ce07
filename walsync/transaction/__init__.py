"""Step 3: messages -> whole, committed transactions. Pure; knows neither connections nor targets."""
