#![no_main]

use dtls_psk_fuzz::coap::hostile::attack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    attack(data);
});
