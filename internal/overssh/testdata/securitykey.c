/*
 * A security key without hardware: a middleware library for SecurityKeyProvider,
 * as in sk-api.h and PROTOCOL.u2f of OpenSSH. It makes keys of ed25519-sk, and the
 * private key is the key handle. The application of a key says what happens when it
 * has to sign:
 *
 *   ssh:          it signs
 *   ssh:untouched it waits for ever
 *   ssh:unplugged there is no device
 *
 * A key that was made with verify-required wants a PIN.
 */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION 0x000a0000
#define ED25519 1
#define VERIFICATION 4

enum { general = -1, unsupported = -2, pin_required = -3, no_device = -4 };

struct enrolled {
	uint8_t flags;
	uint8_t *public_key;
	size_t public_key_len;
	uint8_t *handle;
	size_t handle_len;
	uint8_t *signature;
	size_t signature_len;
	uint8_t *certificate;
	size_t certificate_len;
	uint8_t *authdata;
	size_t authdata_len;
};

struct signed_ {
	uint8_t flags;
	uint32_t counter;
	uint8_t *r;
	size_t r_len;
	uint8_t *s;
	size_t s_len;
};

uint32_t sk_api_version(void) { return VERSION; }

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
	uint8_t flags, const char *pin, void **options, struct enrolled **response)
{
	struct enrolled *e = calloc(1, sizeof(*e));
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

	if (alg != ED25519)
		return unsupported;
	e->flags = flags;
	e->public_key = malloc(e->public_key_len = 32);
	e->handle = malloc(e->handle_len = 32);
	e->signature = calloc(1, 1); /* none, but ssh-keygen wants memory */
	if (!EVP_PKEY_get_raw_public_key(key, e->public_key, &e->public_key_len) ||
	    !EVP_PKEY_get_raw_private_key(key, e->handle, &e->handle_len))
		return general;
	*response = e;
	return 0;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t len, const char *application,
	const uint8_t *handle, size_t handle_len, uint8_t flags, const char *pin, void **options,
	struct signed_ **response)
{
	struct signed_ *s = calloc(1, sizeof(*s));
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, handle, handle_len);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t text[32 + 1 + 4 + 32] = {0}; /* the hashes of application and data, the flags and a counter of 0 between them */

	if (strcmp(application, "ssh:untouched") == 0)
		for (;;)
			pause();
	if (strcmp(application, "ssh:unplugged") == 0)
		return no_device;
	if (flags & VERIFICATION && (pin == NULL || *pin == '\0'))
		return pin_required;
	SHA256((const uint8_t *)application, strlen(application), text);
	text[32] = s->flags = flags;
	SHA256(data, len, text + 37);
	s->r = malloc(s->r_len = 64);
	if (!EVP_DigestSignInit(context, NULL, NULL, NULL, key) ||
	    !EVP_DigestSign(context, s->r, &s->r_len, text, sizeof(text)))
		return general;
	*response = s;
	return 0;
}

int sk_load_resident_keys(const char *pin, void **options, void ***keys, size_t *count) { return unsupported; }
