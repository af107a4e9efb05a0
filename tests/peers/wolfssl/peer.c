/* wolfSSL as a peer. */
#include "driver.h"

#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/ssl.h>
#include <stdio.h>
#include <string.h>

static WOLFSSL_CTX *context;
static WOLFSSL *ssl;
static WOLFSSL_SESSION *saved;
static uint64_t started;

static int send_datagram(WOLFSSL *s, char *bytes, int len, void *x) {
    (void)s, (void)x;
    int sent = datagram_send((uint8_t *)bytes, (size_t)len);
    return sent < 0 ? WOLFSSL_CBIO_ERR_WANT_WRITE : sent;
}

static int receive_datagram(WOLFSSL *s, char *buffer, int len, void *x) {
    (void)s, (void)x;
    int got = datagram_receive((uint8_t *)buffer, (size_t)len);
    if (got >= 0) {
        uint8_t address[32];
        size_t size = datagram_peer(address, sizeof address);
        if (options.is_server) wolfSSL_dtls_set_peer(s, address, (unsigned)size);
    }
    return got < 0 ? WOLFSSL_CBIO_ERR_WANT_READ : got;
}

static unsigned client_key(WOLFSSL *s, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                           unsigned max_key) {
    (void)s, (void)hint;
    if (strlen(options.identity) >= max_identity || options.key_len > max_key) return 0;
    strcpy(identity, options.identity);
    memcpy(key, options.key, options.key_len);
    return (unsigned)options.key_len;
}

static unsigned server_key(WOLFSSL *s, const char *identity, unsigned char *key, unsigned max_key) {
    (void)s;
    if (strcmp(identity, options.identity) || options.key_len > max_key) return 0;
    memcpy(key, options.key, options.key_len);
    return (unsigned)options.key_len;
}

static const char *suite_name(const char *name) {
    static const char *names[][2] = {
        {"CCM_8", "PSK-AES128-CCM-8"},
        {"CCM", "PSK-AES128-CCM"},
        {"GCM", "PSK-AES128-GCM-SHA256"},
        {"ECDHE_GCM", "ECDHE-PSK-AES128-GCM-SHA256"},
    };
    for (size_t at = 0; at < sizeof names / sizeof *names; at++)
        if (!strcmp(name, names[at][0])) return names[at][1];
    return "";
}

int peer_start(void) {
    wolfSSL_Init();
    context = wolfSSL_CTX_new(options.is_server ? wolfDTLSv1_2_server_method() : wolfDTLSv1_2_client_method());
    if (!context) return -1;
    if (options.is_server) wolfSSL_CTX_set_psk_server_callback(context, server_key);
    else wolfSSL_CTX_set_psk_client_callback(context, client_key);
    if (wolfSSL_CTX_set_cipher_list(context, suite_name(options.suite)) != WOLFSSL_SUCCESS) return -2;
    wolfSSL_CTX_SetIORecv(context, receive_datagram);
    wolfSSL_CTX_SetIOSend(context, send_datagram);
    if (options.is_server && !options.tickets) wolfSSL_CTX_NoTicketTLSv12(context);
    if (options.no_ems) wolfSSL_CTX_DisableExtendedMasterSecret(context);
    return 0;
}

int peer_open(int resume) {
    if (ssl) wolfSSL_free(ssl);
    ssl = wolfSSL_new(context);
    if (!ssl) return -1;
    wolfSSL_dtls_set_using_nonblock(ssl, 1);
    if (options.mtu && wolfSSL_dtls_set_mtu(ssl, (unsigned short)options.mtu) != WOLFSSL_SUCCESS) return -2;
    if (options.is_server) {
        static const unsigned char secret[32] = {7};
        if (wolfSSL_DTLS_SetCookieSecret(ssl, secret, sizeof secret)) return -3;
    } else {
        uint8_t address[32];
        size_t size = datagram_peer(address, sizeof address);
        wolfSSL_dtls_set_peer(ssl, address, (unsigned)size);
        if (!strncmp(options.suite, "ECDHE", 5) && wolfSSL_UseSupportedCurve(ssl, WOLFSSL_ECC_X25519) != WOLFSSL_SUCCESS)
            return -4;
        if (options.max_fragment) {
            unsigned char code = options.max_fragment == 512    ? WOLFSSL_MFL_2_9
                                 : options.max_fragment == 1024 ? WOLFSSL_MFL_2_10
                                 : options.max_fragment == 2048 ? WOLFSSL_MFL_2_11
                                                                : WOLFSSL_MFL_2_12;
            if (wolfSSL_UseMaxFragment(ssl, code) != WOLFSSL_SUCCESS) return -5;
        }
        if (options.tickets && wolfSSL_UseSessionTicket(ssl) != WOLFSSL_SUCCESS) return -7;
        if (resume && saved && wolfSSL_set_session(ssl, saved) != WOLFSSL_SUCCESS) return -8;
    }
    /* The one that is asked for, and in a server the one that it goes by. */
    if (options.server_name && wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, options.server_name,
                                              (unsigned short)strlen(options.server_name)) != WOLFSSL_SUCCESS)
        return -6;
    if (options.has_cid) {
        if (wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS) return -9;
        if (options.cid_len && wolfSSL_dtls_cid_set(ssl, options.cid, (unsigned)options.cid_len) != WOLFSSL_SUCCESS)
            return -10;
    }
    started = now_ms();
    return 0;
}

/* What a call that did not succeed means. */
static int outcome_of(int result) {
    int error = wolfSSL_get_error(ssl, result);
    if (error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE) return PEER_AGAIN;
    if (error == WOLFSSL_ERROR_ZERO_RETURN) return PEER_CLOSED;
    return error < 0 ? error : -error - 1000;
}

int peer_handshake(void) {
    int result = options.is_server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl);
    if (result == WOLFSSL_SUCCESS) return PEER_DONE;
    int outcome = outcome_of(result);
    if (outcome == PEER_AGAIN && now_ms() - started >= 1000ULL * (unsigned)wolfSSL_dtls_get_current_timeout(ssl)) {
        started = now_ms();
        wolfSSL_dtls_got_timeout(ssl);
    }
    return outcome;
}

int peer_read(uint8_t *buffer, size_t len, int *got) {
    int result = wolfSSL_read(ssl, buffer, (int)len);
    if (result > 0) return *got = result, PEER_DONE;
    return outcome_of(result);
}

int peer_write(const uint8_t *bytes, size_t len) {
    int result = wolfSSL_write(ssl, bytes, (int)len);
    return result == (int)len ? PEER_DONE : outcome_of(result);
}

void peer_close(void) {
    if (!options.is_server) saved = wolfSSL_get1_session(ssl);
    wolfSSL_shutdown(ssl);
}

void peer_describe(char *text, size_t len) {
    unsigned char *id = 0;
    unsigned id_len = 0;
    char id_hex[600] = "none";
    if (wolfSSL_dtls_cid_is_enabled(ssl)) {
        id_hex[0] = 0;
        if (wolfSSL_dtls_cid_get0_tx(ssl, &id) == WOLFSSL_SUCCESS && wolfSSL_dtls_cid_get_tx_size(ssl, &id_len) == WOLFSSL_SUCCESS && id)
            hex(id_hex, id, id_len);
    }
    void *name = 0;
    wolfSSL_SNI_GetRequest(ssl, WOLFSSL_SNI_HOST_NAME, &name);
    snprintf(text, len, "suite=%s cid=%s max=%d resumed=%s name=%s", wolfSSL_get_cipher_name(ssl), id_hex,
             wolfSSL_GetMaxOutputSize(ssl), wolfSSL_session_reused(ssl) ? "yes" : "no", name ? (char *)name : "none");
}
