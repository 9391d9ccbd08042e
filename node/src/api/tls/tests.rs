//! Certificates and keys from files, and connections by them.
