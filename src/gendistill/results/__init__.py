"""Tables, figures and the report. Reads receipts only."""
