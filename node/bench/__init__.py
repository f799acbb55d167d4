"""Measures the promises of speed on this machine, each beside the limit that it could reach at best here.

Two nodes run as real processes with real certificates, sockets and databases; nothing is taken out of the path.
"""
