/* The vectors of the RFCs, and what is refused. */
#include "common/codec/digest.h"
#include "tests/lib/test.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

static const char *hex_of(const uint8_t *bytes, size_t len)
{
    static char text[DIGEST_HEX_BYTES];

    assert_true(2 * len + 1 <= sizeof text);
    digest_hex(bytes, len, text);
    return text;
}

/* FIPS 180-2, RFC 1321. */
static void test_hashes(void **state)
{
    uint8_t sha[DIGEST_BYTES], md5[DIGEST_MD5_BYTES];
    (void)state;

    assert_int_equal(digest_sha256(SLICE_NONE, sha), ERR_OK);
    assert_string_equal(hex_of(sha, sizeof sha),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(digest_sha256(SLICE_LIT("abc"), sha), ERR_OK);
    assert_string_equal(hex_of(sha, sizeof sha),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(digest_md5(SLICE_NONE, md5), ERR_OK);
    assert_string_equal(hex_of(md5, sizeof md5), "d41d8cd98f00b204e9800998ecf8427e");
    assert_int_equal(digest_md5(SLICE_LIT("message digest"), md5), ERR_OK);
    assert_string_equal(hex_of(md5, sizeof md5), "f96b697d7cb7938d525a2f31aaf161d0");
}

/* RFC 4231, cases 1, 2 and 6. */
static void test_hmac(void **state)
{
    uint8_t mac[DIGEST_BYTES], key[131];
    (void)state;

    memset(key, 0x0b, 20);
    assert_int_equal(digest_hmac_sha256((struct slice){key, 20}, SLICE_LIT("Hi There"), mac),
                     ERR_OK);
    assert_string_equal(hex_of(mac, sizeof mac),
                        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_int_equal(
        digest_hmac_sha256(SLICE_LIT("Jefe"), SLICE_LIT("what do ya want for nothing?"), mac),
        ERR_OK);
    assert_string_equal(hex_of(mac, sizeof mac),
                        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    assert_int_equal(digest_hmac_sha256(
                         (struct slice){key, sizeof key},
                         SLICE_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), mac),
                     ERR_OK);
    assert_string_equal(hex_of(mac, sizeof mac),
                        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_int_equal(digest_hmac_sha256(SLICE_NONE, SLICE_NONE, mac), ERR_OK);
    assert_string_equal(hex_of(mac, sizeof mac),
                        "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 4648, 10; and there and back for every length and byte. */
static void test_base64(void **state)
{
    static const struct {
        const char *plain, *text;
    } rows[] = {{"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"}};
    struct buf text, back;
    uint8_t bytes[256];
    (void)state;

    buf_init(&text, 4096);
    buf_init(&back, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf_reset(&text);
        buf_reset(&back);
        digest_base64(slice_str(rows[i].plain), false, &text);
        assert_true(slice_eq_str(buf_slice(&text), rows[i].text));
        assert_int_equal(digest_base64_decode(slice_str(rows[i].text), &back), ERR_OK);
        assert_true(slice_eq_str(buf_slice(&back), rows[i].plain));
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        buf_reset(&text);
        buf_reset(&back);
        digest_base64((struct slice){bytes, n}, false, &text);
        assert_int_equal(digest_base64_decode(buf_slice(&text), &back), ERR_OK);
        assert_int_equal(back.len, n);
        assert_true(n == 0 || memcmp(back.ptr, bytes, n) == 0);
    }
    buf_reset(&text);
    digest_base64(SLICE_LIT("\xfb\xff\xfe?"), true, &text);
    assert_true(slice_eq_str(buf_slice(&text), "-__-Pw"));
    static const char *const bad[] = {"Z", "Z===", "Zm9vZ", "Zm9v!m9v", "Zg==Zg==", "=Zg="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(digest_base64_decode(slice_str(bad[i]), &back), ERR_FORMAT);
    buf_release(&text);
    buf_release(&back);
}

/* A key made here: what it signs, its public half believes. */
static void test_signatures(void **state)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    BIO *out = BIO_new(BIO_s_mem());
    struct slice data = SLICE_LIT("header.claims");
    struct buf signature;
    char *text = NULL;
    (void)state;

    assert_non_null(key);
    assert_int_equal(PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    size_t len = (size_t)BIO_get_mem_data(out, &text);
    char *pem = strndup(text, len);
    buf_init(&signature, 4096);
    assert_int_equal(digest_sign_rs256(pem, data, &signature), ERR_OK);
    assert_int_equal(signature.len, 256);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(ctx, signature.ptr, signature.len, data.ptr, data.len), 1);
    EVP_MD_CTX_free(ctx);
    assert_int_equal(digest_sign_rs256("no key", data, &signature), ERR_INVALID);
    pem[len / 2] = '!';
    assert_int_equal(digest_sign_rs256(pem, data, &signature), ERR_INVALID);
    free(pem);
    buf_release(&signature);
    BIO_free(out);
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_signatures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
