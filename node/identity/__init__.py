"""Who speaks: SPIFFE IDs, certificates, the roster and this node's own admissions and denials.

The pure core takes bytes and gives a value or an exception; files and tables are touched at the rim only.

- `spiffe`, `certificates`: a chain of certificates → the State and kind that it proves (I9).
- `dsse`, `participants`, `roster`, `view`: an envelope → the list of participants that may be trusted.
- `trust_store`: roster, admissions and denials in the database; `TrustState` is what a call is judged by.
- `pki`, `pem`, `credentials`, `renewal`: certificates are made, read, reloaded and renewed.
"""
