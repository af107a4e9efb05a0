/* wolfSSL as a peer: of DTLS 1.2, and of 1.3 where WOLFSSL_DTLS13 is defined. */
#include "driver.h"

#include <wolfssl/wolfcrypt/settings.h>
#include <wolfssl/ssl.h>
#include <wolfssl/internal.h>
#include <stdio.h>
#include <string.h>

static WOLFSSL_CTX *context;
static WOLFSSL *ssl;
static WOLFSSL_SESSION *saved;
static uint64_t started;

#ifdef WOLFSSL_DTLS13
static void note_offered_suites(const uint8_t *datagram, size_t len);
#endif

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
#ifdef WOLFSSL_DTLS13
        if (options.is_server) note_offered_suites((uint8_t *)buffer, (size_t)got);
#endif
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

struct suite {
    const char *name, *old, *new; /* as the tests, DTLS 1.2 and 1.3 call it */
    uint8_t code;                 /* of 1.3, behind 0x13 */
};

static const struct suite suites[] = {
    {"CCM_8", "PSK-AES128-CCM-8", "TLS13-AES128-CCM-8-SHA256", 5},
    {"CCM", "PSK-AES128-CCM", "TLS13-AES128-CCM-SHA256", 4},
    {"GCM", "PSK-AES128-GCM-SHA256", "TLS13-AES128-GCM-SHA256", 1},
    {"ECDHE_GCM", "ECDHE-PSK-AES128-GCM-SHA256", 0, 0},
};

/* The suite at the front of a list, which is moved to the next. */
static const struct suite *next_suite(const char **list) {
    size_t len = strcspn(*list, ",");
    const char *name = *list;
    *list += len + (name[len] == ',');
    for (size_t at = 0; len && at < sizeof suites / sizeof *suites; at++)
        if (strlen(suites[at].name) == len && !strncmp(suites[at].name, name, len)) return &suites[at];
    return 0;
}

static int has_version(const char *version) {
#ifdef WOLFSSL_DTLS13
    return !strcmp(options.dtls, version) || !strcmp(options.dtls, "any");
#else
    return !strcmp(version, "1.2");
#endif
}

static const char *suite_names(void) {
    static char names[512];
    const struct suite *suite;
    for (const char *list = options.suite; (suite = next_suite(&list));) {
        if (suite->new && has_version("1.3")) strcat(strcat(names, ":"), suite->new);
        if (has_version("1.2")) strcat(strcat(names, ":"), suite->old);
    }
    return names + 1;
}

#ifdef WOLFSSL_DTLS13
/* Whether the newest hello offers a suite, by its code. */
static uint8_t offered[256];

/* wolfSSL asks for the one suite of a key and does not say what the client has. */
static void note_offered_suites(const uint8_t *datagram, size_t len) {
    size_t at = 13 + 12 + 2 + 32;
    if (len < at || datagram[0] != 22 || datagram[13] != 1) return;
    for (int vector = 0; vector < 2; vector++) { /* the session's id and the cookie */
        if (at >= len) return;
        at += 1 + datagram[at];
    }
    if (at + 2 > len) return;
    size_t end = at + 2 + (datagram[at] << 8 | datagram[at + 1]);
    memset(offered, 0, sizeof offered);
    for (at += 2; at + 2 <= end && at + 2 <= len; at += 2)
        if (datagram[at] == 0x13) offered[datagram[at + 1]] = 1;
}

static unsigned server_key13(WOLFSSL *s, const char *identity, unsigned char *key, unsigned max_key, const char **name) {
    const struct suite *suite;
    for (const char *list = options.suite; (suite = next_suite(&list));) {
        if (!suite->new || !offered[suite->code]) continue;
        *name = suite->new;
        return server_key(s, identity, key, max_key);
    }
    return 0;
}

/* Asked once for each suite; the same identity comes to be offered once. */
static unsigned client_key13(WOLFSSL *s, const char *hint, char *identity, unsigned max_identity, unsigned char *key,
                             unsigned max_key, const char *suite) {
    (void)suite;
    return client_key(s, hint, identity, max_identity, key, max_key);
}

static int log_secret(WOLFSSL *s, int id, const unsigned char *secret, int len, void *x) {
    (void)x;
    const char *label = id == CLIENT_HANDSHAKE_TRAFFIC_SECRET   ? "CLIENT_HANDSHAKE_TRAFFIC_SECRET"
                        : id == SERVER_HANDSHAKE_TRAFFIC_SECRET ? "SERVER_HANDSHAKE_TRAFFIC_SECRET"
                        : id == CLIENT_TRAFFIC_SECRET           ? "CLIENT_TRAFFIC_SECRET_0"
                        : id == SERVER_TRAFFIC_SECRET           ? "SERVER_TRAFFIC_SECRET_0"
                        : id == EXPORTER_SECRET                 ? "EXPORTER_SECRET"
                                                                : 0;
    FILE *file = label ? fopen(options.keylog, "a") : 0;
    if (!file) return label ? -1 : 0;
    unsigned char random[32];
    char random_hex[65], secret_hex[129];
    wolfSSL_get_client_random(s, random, sizeof random);
    hex(random_hex, random, sizeof random);
    hex(secret_hex, secret, (size_t)len);
    fprintf(file, "%s %s %s\n", label, random_hex, secret_hex);
    return fclose(file);
}

static int start13(void) {
    if (options.is_server) wolfSSL_CTX_set_psk_server_tls13_callback(context, server_key13);
    else wolfSSL_CTX_set_psk_client_cs_callback(context, client_key13);
    if (!strcmp(options.ke, "psk_ke") && wolfSSL_CTX_no_dhe_psk(context)) return -3;
    if (!strcmp(options.ke, "psk_dhe_ke") && wolfSSL_CTX_only_dhe_psk(context)) return -4;
    if (options.is_server && !options.tickets && wolfSSL_CTX_no_ticket_TLSv13(context)) return -5;
    return 0;
}

static int open13(void) {
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_X25519};
    int count = 1;
    if (options.keylog) wolfSSL_set_tls13_secret_cb(ssl, log_secret, 0);
    wolfSSL_KeepArrays(ssl);
    if (options.is_server) {
        if (wolfSSL_dtls13_allow_ch_frag(ssl, 1) != WOLFSSL_SUCCESS) return -20;
        if (options.no_cookie && wolfSSL_disable_hrr_cookie(ssl) != WOLFSSL_SUCCESS) return -21;
    } else if (!strcmp(options.share, "p256")) {
        groups[0] = WOLFSSL_ECC_SECP256R1;
        count = 2;
    }
    if (wolfSSL_set_groups(ssl, groups, count) != WOLFSSL_SUCCESS) return -22;
    if (!strcmp(options.share, "none") && wolfSSL_NoKeyShares(ssl) != WOLFSSL_SUCCESS) return -23;
    return 0;
}

static int update(unsigned with_request) {
    /* wolfSSL leaves the request out while another is open. */
    ssl->keys.updateResponseReq = !with_request;
    int result = wolfSSL_update_keys(ssl);
    ssl->keys.updateResponseReq = with_request;
    return result == WOLFSSL_SUCCESS ? PEER_DONE : result;
}

int peer_command(const char *line, char *answer, size_t len) {
    char label[128];
    unsigned size;
    uint8_t out[256];
    if (!strcmp(line, "update")) return update(0);
    if (!strcmp(line, "request-update")) return update(1);
    if (sscanf(line, "export %127s %u", label, &size) != 2 || size > sizeof out || len < 2 * size + 10) return -1;
    if (wolfSSL_export_keying_material(ssl, out, size, label, strlen(label), 0, 0, 0) != WOLFSSL_SUCCESS) return -2;
    hex(answer + sprintf(answer, "exported "), out, size);
    return PEER_DONE;
}
#endif

static WOLFSSL_METHOD *method(void) {
#ifdef WOLFSSL_DTLS13
    if (!has_version("1.2")) return options.is_server ? wolfDTLSv1_3_server_method() : wolfDTLSv1_3_client_method();
    if (has_version("1.3")) return options.is_server ? wolfDTLS_server_method() : wolfDTLS_client_method();
#endif
    return options.is_server ? wolfDTLSv1_2_server_method() : wolfDTLSv1_2_client_method();
}

int peer_start(void) {
    wolfSSL_Init();
    context = wolfSSL_CTX_new(method());
    if (!context) return -1;
    if (options.is_server) wolfSSL_CTX_set_psk_server_callback(context, server_key);
    else wolfSSL_CTX_set_psk_client_callback(context, client_key);
    if (wolfSSL_CTX_set_cipher_list(context, suite_names()) != WOLFSSL_SUCCESS) return -2;
    wolfSSL_CTX_SetIORecv(context, receive_datagram);
    wolfSSL_CTX_SetIOSend(context, send_datagram);
    if (options.is_server && !options.tickets) wolfSSL_CTX_NoTicketTLSv12(context);
    if (options.no_ems) wolfSSL_CTX_DisableExtendedMasterSecret(context);
#ifdef WOLFSSL_DTLS13
    if (has_version("1.3")) return start13();
#endif
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
        /* With DTLS 1.3, there is nothing to offer until a ticket has come. */
        if (resume && saved && wolfSSL_set_session(ssl, saved) != WOLFSSL_SUCCESS && !has_version("1.3")) return -8;
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
#ifdef WOLFSSL_DTLS13
    if (has_version("1.3")) {
        int outcome = open13();
        if (outcome) return outcome;
    }
#endif
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

static void look_at_the_clock(void) {
    unsigned wait = 1000 * (unsigned)wolfSSL_dtls_get_current_timeout(ssl);
#ifdef WOLFSSL_DTLS13
    if (wolfSSL_dtls13_use_quick_timeout(ssl)) wait /= 4;
#endif
    if (now_ms() - started < wait) return;
    started = now_ms();
    wolfSSL_dtls_got_timeout(ssl);
}

int peer_handshake(void) {
    int result = options.is_server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl);
    if (result == WOLFSSL_SUCCESS) return PEER_DONE;
    int outcome = outcome_of(result);
    if (outcome == PEER_AGAIN) look_at_the_clock();
    return outcome;
}

int peer_read(uint8_t *buffer, size_t len, int *got) {
    int result = wolfSSL_read(ssl, buffer, (int)len);
    if (result > 0) return *got = result, PEER_DONE;
    int outcome = outcome_of(result);
#ifdef WOLFSSL_DTLS13
    /* Tickets and new keys are repeated, too. */
    if (!ssl->dtls13Rtx.rtxRecords && !ssl->dtls13Rtx.seenRecords) started = now_ms();
    if (outcome == PEER_AGAIN) look_at_the_clock();
#endif
    return outcome;
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
    const char *version = wolfSSL_version(ssl) == DTLS1_3_VERSION ? "1.3" : "1.2", *ke = "psk";
#ifdef WOLFSSL_DTLS13
    if (wolfSSL_version(ssl) == DTLS1_3_VERSION) ke = ssl->namedGroup ? "psk_dhe_ke" : "psk_ke";
#endif
    snprintf(text, len, "suite=%s cid=%s max=%d resumed=%s name=%s dtls=%s ke=%s", wolfSSL_get_cipher_name(ssl), id_hex,
             wolfSSL_GetMaxOutputSize(ssl), wolfSSL_session_reused(ssl) ? "yes" : "no", name ? (char *)name : "none",
             version, ke);
}
