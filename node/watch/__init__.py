"""The watch: every new alert meets every national record, every new record every alert; hits go back to registries.

Rules:
- Records, terms and hits never leave the node (I7); a hit holds ids, field names and strengths, no content of an alert.
- One hit a record and alert. Each change gives it a higher version, which is delivered at least once.
- A hit is cleared when its alert is withdrawn, unfounded, expired or revised away, or its record changed or went.
- "Not the same" keeps a pair quiet until either side changes.
- Matching is exact on normal forms. How a pair is judged is the screening's concern, so that tolerant matching changes
  nothing here.

`records` takes what registries hand in, `matching` finds and judges pairs, `hits` folds them into hits, `keeper`
follows the alerts, `delivery` hands hits to adapters and takes officers' decisions.

Source: ATT Art. 7(7); design.md 9; domain.md 4.4.
"""
