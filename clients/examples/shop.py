"""A shop that delivers once a payment has three confirmations, and revokes what a reorganisation undoes."""

import json
import urllib.request

CONFIRMATIONS = 3


class Shop:
    def __init__(self, node: str) -> None:
        self.node = node
        self.invoices: dict[str, str] = {}

    def invoice(self, payment: str) -> None:
        """Expects the payment with a transaction id."""
        self.invoices[payment] = "open"

    def update(self) -> None:
        """Compares all invoices with the chain, those that were delivered, too."""
        for payment in self.invoices:
            with urllib.request.urlopen(f"{self.node}/v1/transactions/{payment}") as response:
                transaction = json.load(response)
            if transaction["status"] == "dropped":
                self.invoices[payment] = "revoked"
            elif transaction["confirmations"] >= CONFIRMATIONS:
                self.invoices[payment] = "delivered"
            else:
                self.invoices[payment] = "open"
