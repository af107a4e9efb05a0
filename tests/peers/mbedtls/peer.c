/* Mbed TLS as a peer. */
#include "driver.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_cache.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/ssl_cookie.h>
#include <mbedtls/ssl_ticket.h>
#include <stdio.h>
#include <string.h>

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context drbg;
static mbedtls_ssl_config config;
static mbedtls_ssl_context ssl;
static mbedtls_ssl_cookie_ctx cookies;
static mbedtls_ssl_cache_context cache;
static mbedtls_ssl_ticket_context tickets;
static mbedtls_ssl_session saved;
static int has_saved, is_open;
static int suites[2];
static uint64_t started;
static uint32_t intermediate, final;
static char server_name[256] = "none";

static int send_datagram(void *context, const unsigned char *bytes, size_t len) {
    (void)context;
    int sent = datagram_send(bytes, len);
    return sent < 0 ? MBEDTLS_ERR_SSL_WANT_WRITE : sent;
}

static int receive_datagram(void *context, unsigned char *buffer, size_t len) {
    (void)context;
    int got = datagram_receive(buffer, len);
    return got < 0 ? MBEDTLS_ERR_SSL_WANT_READ : got;
}

static void set_delay(void *context, uint32_t first, uint32_t second) {
    (void)context;
    started = now_ms();
    intermediate = first;
    final = second;
}

static int get_delay(void *context) {
    (void)context;
    if (!final) return -1;
    uint64_t passed = now_ms() - started;
    return passed >= final ? 2 : passed >= intermediate ? 1 : 0;
}

static int suite_number(const char *name) {
    if (!strcmp(name, "CCM_8")) return MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8;
    if (!strcmp(name, "CCM")) return MBEDTLS_TLS_PSK_WITH_AES_128_CCM;
    if (!strcmp(name, "GCM")) return MBEDTLS_TLS_PSK_WITH_AES_128_GCM_SHA256;
    return 0;
}

static int take_server_name(void *context, mbedtls_ssl_context *s, const unsigned char *name, size_t len) {
    (void)context, (void)s;
    snprintf(server_name, sizeof server_name, "%.*s", (int)len, (const char *)name);
    return 0;
}

int peer_start(void) {
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&drbg);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_cookie_init(&cookies);
    mbedtls_ssl_cache_init(&cache);
    mbedtls_ssl_ticket_init(&tickets);
    mbedtls_ssl_session_init(&saved);
    int error = mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, (const unsigned char *)"peer", 4);
    if (error) return error;
    int role = options.is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT;
    error = mbedtls_ssl_config_defaults(&config, role, MBEDTLS_SSL_TRANSPORT_DATAGRAM, MBEDTLS_SSL_PRESET_DEFAULT);
    if (error) return error;
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &drbg);
    error = mbedtls_ssl_conf_psk(&config, options.key, options.key_len, (const unsigned char *)options.identity,
                                 strlen(options.identity));
    if (error) return error;
    suites[0] = suite_number(options.suite);
    mbedtls_ssl_conf_ciphersuites(&config, suites);
    mbedtls_ssl_conf_extended_master_secret(&config, !options.no_ems);
    mbedtls_ssl_conf_session_tickets(&config, options.tickets);
    if (options.max_fragment) {
        int code = options.max_fragment == 512    ? MBEDTLS_SSL_MAX_FRAG_LEN_512
                   : options.max_fragment == 1024 ? MBEDTLS_SSL_MAX_FRAG_LEN_1024
                   : options.max_fragment == 2048 ? MBEDTLS_SSL_MAX_FRAG_LEN_2048
                                                  : MBEDTLS_SSL_MAX_FRAG_LEN_4096;
        error = mbedtls_ssl_conf_max_frag_len(&config, (unsigned char)code);
        if (error) return error;
    }
    if (options.has_cid) {
        error = mbedtls_ssl_conf_cid(&config, options.cid_len, MBEDTLS_SSL_UNEXPECTED_CID_IGNORE);
        if (error) return error;
    }
    if (options.is_server) {
        error = mbedtls_ssl_cookie_setup(&cookies, mbedtls_ctr_drbg_random, &drbg);
        if (error) return error;
        mbedtls_ssl_conf_dtls_cookies(&config, mbedtls_ssl_cookie_write, mbedtls_ssl_cookie_check, &cookies);
        mbedtls_ssl_conf_sni(&config, take_server_name, 0);
        mbedtls_ssl_conf_session_cache(&config, &cache, mbedtls_ssl_cache_get, mbedtls_ssl_cache_set);
        if (options.tickets) {
            error = mbedtls_ssl_ticket_setup(&tickets, mbedtls_ctr_drbg_random, &drbg, MBEDTLS_CIPHER_AES_128_GCM, 86400);
            if (error) return error;
            mbedtls_ssl_conf_session_tickets_cb(&config, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse, &tickets);
        }
    }
    return 0;
}

int peer_open(int resume) {
    if (is_open) mbedtls_ssl_free(&ssl);
    mbedtls_ssl_init(&ssl);
    is_open = 1;
    int error = mbedtls_ssl_setup(&ssl, &config);
    if (error) return error;
    mbedtls_ssl_set_bio(&ssl, 0, send_datagram, receive_datagram, 0);
    mbedtls_ssl_set_timer_cb(&ssl, 0, set_delay, get_delay);
    if (options.mtu) mbedtls_ssl_set_mtu(&ssl, (uint16_t)options.mtu);
    if (!options.is_server && options.server_name && (error = mbedtls_ssl_set_hostname(&ssl, options.server_name))) return error;
    if (options.has_cid && (error = mbedtls_ssl_set_cid(&ssl, MBEDTLS_SSL_CID_ENABLED, options.cid, options.cid_len)))
        return error;
    if (resume && has_saved) {
        if ((error = mbedtls_ssl_set_session(&ssl, &saved))) return error;
    }
    return 0;
}

int peer_handshake(void) {
    if (options.is_server) {
        /* The cookie binds the address that the hello came from, which the first datagram tells: look without taking it. */
        uint8_t address[32];
        size_t len = datagram_peer(address, sizeof address);
        int error = mbedtls_ssl_set_client_transport_id(&ssl, address, len);
        if (error) return error;
    }
    int outcome = mbedtls_ssl_handshake(&ssl);
    switch (outcome) {
    case 0: return PEER_DONE;
    case MBEDTLS_ERR_SSL_WANT_READ:
    case MBEDTLS_ERR_SSL_WANT_WRITE: return PEER_AGAIN;
    case MBEDTLS_ERR_SSL_HELLO_VERIFY_REQUIRED:
        outcome = mbedtls_ssl_session_reset(&ssl);
        return outcome ? outcome : PEER_AGAIN;
    default: return outcome;
    }
}

int peer_read(uint8_t *buffer, size_t len, int *got) {
    int outcome = mbedtls_ssl_read(&ssl, buffer, len);
    if (outcome > 0) return *got = outcome, PEER_DONE;
    if (outcome == 0 || outcome == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) return PEER_CLOSED;
    if (outcome == MBEDTLS_ERR_SSL_WANT_READ || outcome == MBEDTLS_ERR_SSL_WANT_WRITE) return PEER_AGAIN;
    return outcome;
}

int peer_write(const uint8_t *bytes, size_t len) {
    int outcome = mbedtls_ssl_write(&ssl, bytes, len);
    return outcome == (int)len ? PEER_DONE : outcome < 0 ? outcome : -1;
}

void peer_close(void) {
    mbedtls_ssl_close_notify(&ssl);
    if (!options.is_server) {
        mbedtls_ssl_session_free(&saved);
        mbedtls_ssl_session_init(&saved);
        has_saved = mbedtls_ssl_get_session(&ssl, &saved) == 0;
    }
}

void peer_describe(char *text, size_t len) {
    int enabled = 0;
    unsigned char id[MBEDTLS_SSL_CID_OUT_LEN_MAX];
    size_t id_len = 0;
    char id_hex[2 * sizeof id + 1] = "";
    mbedtls_ssl_get_peer_cid(&ssl, &enabled, id, &id_len);
    if (enabled) hex(id_hex, id, id_len);
    snprintf(text, len, "suite=%s cid=%s%s max=%d name=%s", mbedtls_ssl_get_ciphersuite(&ssl), enabled ? "" : "none",
             id_hex, mbedtls_ssl_get_max_out_record_payload(&ssl), server_name);
}
