// The policy as a value: secrets that do not print, and what the admission core gets of it.
import AdmissionCore
import PolicyFile
import Testing

@Suite struct PolicyTests {
  @Test func secretsNeverPrint() {
    let secret = Secret("sk-0123456789abcd")
    #expect("\(secret)" == "•••abcd")
    #expect(String(reflecting: secret) == "•••abcd")
    #expect("\(Secret("short"))" == "•••")
    #expect("\(Secret("12345678901"))" == "•••")
    #expect("\(Secret("123456789012"))" == "•••9012")
    var policy = Policy()
    policy.admin.token = secret
    var provider = Provider(id: "a", dialect: .openai, baseURL: "http://h")
    provider.keys = [ProviderKey(id: "k", source: .text(secret))]
    policy.providers = [provider]
    var dumped = ""
    dump(policy, to: &dumped)
    #expect(!dumped.contains("0123456789") && !"\(policy)".contains("0123456789"))
  }

  @Test func addressesPrintAsTheyAreWritten() {
    #expect(ListenAddress.tcp(host: "::1", port: 1).description == "[::1]:1")
    #expect(ListenAddress.tcp(host: "127.0.0.1", port: 1).description == "127.0.0.1:1")
    #expect(ListenAddress.unix(path: "/a").description == "unix:/a")
  }

  @Test func coreGetsItsShare() {
    var policy = Policy()
    var provider = Provider(id: "a", dialect: .anthropic, baseURL: "http://h")
    provider.limits.concurrency = 5
    provider.settleLag = .milliseconds(200)
    provider.ramp = .seconds(30)
    policy.providers = [provider]
    #expect(policy.admission.tenants == [TenantPolicy(id: "default")])
    #expect(policy.admission.tenantTemplate == nil)
    #expect(policy.admission.providers.first?.limits.concurrency == 5)
    #expect(policy.admission.providers.first?.settleLag == .milliseconds(200))
    #expect(policy.admission.providers.first?.ramp == .seconds(30))
    #expect(policy.admission.providers.first?.admissionTokens == .produced)
    policy.tenants = [Tenant(id: "acme"), Tenant(id: "*")]
    #expect(policy.admission.tenants == [TenantPolicy(id: "acme")])
    #expect(policy.admission.tenantTemplate == TenantPolicy(id: "*"))
  }

  @Test func openAIReservesWhatTheClientAllows() {
    #expect(Provider(id: "a", dialect: .openai, baseURL: "").admissionTokens == .maxTokens)
    #expect(Provider(id: "a", dialect: .gemini, baseURL: "").admissionTokens == .produced)
  }
}
