import LinuxSystem
import Testing

@Suite("Addresses of a host")
struct HostLookupTests {
  @Test(
    "Whatever the system takes for a number is one, in any spelling",
    arguments: [
      ("127.0.0.1", "127.0.0.1"), ("127.1", "127.0.0.1"), ("0x7f000001", "127.0.0.1"), ("017700000001", "127.0.0.1"),
      ("2130706433", "127.0.0.1"), ("::1", "::1"), ("::ffff:10.0.0.1", "::ffff:10.0.0.1"), ("2001:DB8::0:1", "2001:db8::1"),
    ])
  func numbers(_ text: String, _ address: String) throws {
    #expect(try HostLookup.addresses(of: text) == [address])
  }

  @Test("A name's addresses come once each; what has none says why", arguments: ["", "no-such-host.invalid", "a b", "256.1.1.1"])
  func names(_ name: String) throws {
    let local = try HostLookup.addresses(of: "localhost")
    #expect(Set(local).count == local.count && !local.isEmpty && Set(local).isSubset(of: ["127.0.0.1", "::1"]))
    let failure = #expect(throws: HostLookup.Failure.self) { try HostLookup.addresses(of: name) }
    #expect(failure?.description.contains("cannot be looked up: ") == true)
  }
}
