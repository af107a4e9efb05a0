//! Ciphers for peers that say what a script tells them to say, under the right keys.

use std::sync::Mutex;

use dtls_psk::{AeadAlgorithm, AeadError, CryptoProvider, RustCrypto};

use crate::script::Edit;

/// What happens to records before they are sealed.
pub enum Alteration {
    /// Their plaintext is edited. In DTLS 1.3, zeros at its end are padding.
    Edits(Vec<Edit>),
    /// They are of this type.
    ContentType(u8),
}

/// The ciphers of one side.
pub struct Cipher {
    /// No cipher at all, so that a script can write records under keys that it does not have.
    transparent: bool,
    alteration: Mutex<Option<Alteration>>,
}

impl Cipher {
    pub const fn new(transparent: bool) -> Self {
        Self { transparent, alteration: Mutex::new(None) }
    }

    /// Everything that is sealed by this is altered.
    pub fn altering<T>(&self, alteration: Alteration, seal: impl FnOnce() -> T) -> T {
        *self.alteration.lock().expect("there is one thread") = Some(alteration);
        let sealed = seal();
        *self.alteration.lock().expect("there is one thread") = None;
        sealed
    }

    fn alter(&self, aad: &mut [u8], data: &mut [u8]) {
        match &*self.alteration.lock().expect("there is one thread") {
            None => {}
            Some(Alteration::Edits(edits)) => {
                let mut edited = data.to_vec();
                edits.iter().for_each(|edit| edit.apply(&mut edited));
                edited.resize(data.len(), 0);
                data.copy_from_slice(&edited);
            }
            Some(Alteration::ContentType(content_type)) => {
                // That of DTLS 1.2 without a connection ID (RFC 5246 §6.2.3.3); all others have their type inside.
                let outside = Some(&mut aad[..]).filter(|aad| aad.len() == 13 && aad[9..11] == [0xFE, 0xFD]);
                let place = outside.and_then(|aad| aad.get_mut(8)).or(data.last_mut());
                *place.expect("a type at least") = *content_type;
            }
        }
    }
}

impl CryptoProvider for Cipher {
    fn seal(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        data: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), AeadError> {
        let mut aad = aad.to_vec();
        self.alter(&mut aad, data);
        if self.transparent {
            tag.fill(0);
            return Ok(());
        }
        RustCrypto.seal(algorithm, key, nonce, &aad, data, tag)
    }

    fn open(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8],
    ) -> Result<(), AeadError> {
        if self.transparent { Ok(()) } else { RustCrypto.open(algorithm, key, nonce, aad, data, tag) }
    }

    fn encrypt_block(&self, key: &[u8; 16], block: &mut [u8; 16]) -> Result<(), AeadError> {
        if !self.transparent {
            return RustCrypto.encrypt_block(key, block);
        }
        // Record numbers go out in the clear as well.
        block.fill(0);
        Ok(())
    }
}
