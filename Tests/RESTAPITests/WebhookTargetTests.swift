import Packets
import Testing

@testable import RESTAPI

@Suite("Where webhooks may go")
struct WebhookTargetTests {
  private func networks(_ allowed: String...) throws -> WebhookNetworks {
    WebhookNetworks(allowed: try allowed.map { try IPPrefix(parsing: $0) })
  }

  @Test(
    "Nothing is sent to this machine or its network",
    arguments: [
      "https://127.0.0.1/", "https://127.1/", "https://localhost/", "https://[::1]/", "https://[::]/", "https://0.0.0.0/",
      "https://10.1.2.3/", "https://172.31.0.1/", "https://192.168.1.1/", "https://169.254.169.254/latest/meta-data",
      "https://100.64.0.1/", "https://[fe80::1]/", "https://[fc00::1]/", "https://[::ffff:127.0.0.1]/",
      "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::1]/",
      "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::]/", "https://224.0.0.1/", "https://255.255.255.255/",
      "https://[ff02::1]/", "https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://0177.0.0.1/",
      "https://127.0.0.1.:443/", "https://LOCALHOST/", "https://0/",
    ])
  func privateTargets(_ url: String) async throws {
    await #expect(throws: WebhookTarget.Refusal.self) {
      let addresses = try await WebhookTarget(url).addresses(in: WebhookNetworks())
      Issue.record("\(url) leads to \(addresses)")
    }
  }

  @Test(
    "Public addresses are allowed, by TLS alone",
    arguments: ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"])
  func publicTargets(_ text: String) throws {
    let address = try IPAddress(parsing: text)
    try networks().check(address, isTLS: true)
    #expect(throws: WebhookTarget.Refusal.self) { try networks().check(address, isTLS: false) }
    #expect(throws: WebhookTarget.Refusal.self) { try networks("10.0.0.0/8").check(address, isTLS: false) }
  }

  @Test("What the settings allow is allowed, in each spelling and without TLS; nothing beside it")
  func allowed() async throws {
    let some = try networks("10.1.0.0/16", "::1")
    for url in ["http://10.1.255.1:8080/x", "https://10.1.0.1/", "http://[::ffff:10.1.2.3]/", "http://[::1]/", "http://[0:0::1]/"] {
      #expect(try await WebhookTarget(url).addresses(in: some).count == 1, "\(url)")
      #expect(WebhookTarget.fault(of: url, in: some) == nil, "\(url)")
    }
    for url in ["http://10.2.0.1/", "https://10.0.255.255/", "https://127.0.0.1/", "https://[::2]/", "http://[64:ff9b::10.1.0.1]/"] {
      #expect(WebhookTarget.fault(of: url, in: some)?.contains("SLUICE_WEBHOOK_PRIVATE_TARGETS") == true, "\(url)")
    }
    // A name is judged by each of its addresses, when it is used.
    #expect(WebhookTarget.fault(of: "http://localhost/", in: try networks("127.0.0.0/8")) == nil)
    let local = try await WebhookTarget("http://localhost/").addresses(in: try networks("127.0.0.0/8", "::1"))
    #expect(!local.isEmpty)
    await #expect(throws: WebhookTarget.Refusal.self) {
      try await WebhookTarget("http://localhost/").addresses(in: try networks("10.0.0.0/8"))
    }
  }

  @Test(
    "A URL is written anew from the parts that were checked",
    arguments: [
      ("https://HOOKS.Example.org", "https://hooks.example.org/"), ("https://a.org:8443/x%2Fy?z=%20&w", "https://a.org:8443/x%2Fy?z=%20&w"),
      ("https://[2606:4700:0:0::1111]:444/p", "https://[2606:4700::1111]:444/p"), ("http://10.0.0.1/?", "http://10.0.0.1/?"),
    ])
  func canonical(_ text: String, _ url: String) throws { #expect(try WebhookTarget(text).url == url) }
}
