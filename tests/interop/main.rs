//! Against real peers: libcoap, OpenSSL, GnuTLS and Wireshark's decoder, all on the loopback address. `cargo xtask
//! interop` installs them; one that is missing fails its tests.

mod bundled;
mod control;
mod driver;
mod fragments;
mod gnutls;
mod libcoap;
mod matrix;
mod openssl;
mod ours;
mod peers;
mod relay;
mod suite;
mod tshark;
