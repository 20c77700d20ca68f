//! Signed agreements, and what each grants.
