//! Pairwise identifiers of persons, and links between members' own.
