/* Credentials as the places give them. */
#include "common/objstore/s3_credentials.h"
#include "tests/lib/test.h"

static void test_json(void **state)
{
    struct s3_keys k;
    (void)state;

    assert_int_equal(
        s3_credentials_from_json(
            SLICE_LIT(
                "{\"Code\":\"Success\",\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2024-06-01T10:00:00Z\"}"),
            &k),
        ERR_OK);
    assert_string_equal(k.access_key, "a");
    assert_string_equal(k.token, "t");
    assert_int_equal(k.expires_ns, 1717236000LL * NS_PER_S);
    assert_int_equal(s3_credentials_from_json(SLICE_LIT("{\"AccessKeyId\":\"a\"}"), &k),
                     ERR_FORMAT);
    assert_int_equal(
        s3_credentials_from_json(
            SLICE_LIT("{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"s\",\"Expiration\":\"soon\"}"),
            &k),
        ERR_FORMAT);
}

static void test_xml(void **state)
{
    struct s3_keys k;
    (void)state;

    assert_int_equal(
        s3_credentials_from_xml(
            SLICE_LIT(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>a</AccessKeyId>"
                "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2024-06-01T10:00:00.5Z</Expiration>"
                "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"),
            &k),
        ERR_OK);
    assert_string_equal(k.secret_key, "s");
    assert_int_equal(k.expires_ns, 1717236000LL * NS_PER_S);
    assert_int_equal(s3_credentials_from_xml(SLICE_LIT("<ErrorResponse/>"), &k), ERR_FORMAT);
}

static void test_ini(void **state)
{
    static const char ini[] =
        "# keys\n[default]\naws_access_key_id = a\naws_secret_access_key=s=1\r\n"
        "[other]\naws_access_key_id=b\n; no secret\n";
    struct s3_keys k;
    (void)state;

    assert_int_equal(s3_credentials_from_ini(slice_str(ini), "default", &k), ERR_OK);
    assert_string_equal(k.access_key, "a");
    assert_string_equal(k.secret_key, "s=1");
    assert_int_equal(s3_credentials_from_ini(slice_str(ini), "other", &k), ERR_NOT_FOUND);
    assert_int_equal(s3_credentials_from_ini(slice_str(ini), "none", &k), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_xml),
        cmocka_unit_test(test_ini),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
