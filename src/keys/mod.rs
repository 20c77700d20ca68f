//! Keys: key files, JWK, thumbprints, JWS, signed notes.
