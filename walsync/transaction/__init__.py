"""Step 3: messages -> whole, committed transactions. Pure; knows neither where messages come from nor who applies them."""
