"""The ledger: append-only logs of entries, their Merkle trees and signed checkpoints."""
