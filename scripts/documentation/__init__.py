"""The documentation site: what is in docs/, what is made from the code, built strict and checked."""
