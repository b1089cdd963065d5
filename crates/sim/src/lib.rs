//! The real services on a simulated network.
