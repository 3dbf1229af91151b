//! Certificates of the cell link: a root, an issuing certificate below it, and the leaves of cells and servers.
