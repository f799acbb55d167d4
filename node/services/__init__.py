"""gRPC servicers: translate wire and domain, authorise, audit; no rules of their own.

Every call is authorised anew from the certificate that its connection presents (I9). Errors are mapped to
google.rpc.Status in `errors` and nowhere else.
"""
