import Foundation
import Packets
import Testing

@Suite("Addresses and prefixes as text")
struct AddressTests {
  @Test(
    "IPv6 addresses are written as RFC 5952 says, whatever form they were read in",
    arguments: [
      ("::", "::"), ("::1", "::1"), ("1::", "1::"), ("0:0:0:0:0:0:0:0", "::"),
      ("2001:0DB8:0000:0000:0008:0800:200C:417A", "2001:db8::8:800:200c:417a"),
      ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1"),
      ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"), ("2001:DB8::1", "2001:db8::1"),
      ("ff01:0:0:0:0:0:0:101", "ff01::101"), ("::FFFF:129.144.52.38", "::ffff:129.144.52.38"),
      ("::13.1.68.3", "::d01:4403"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"), ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
      ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"), ("1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"),
      ("fe80::", "fe80::"), ("0:0:1::", "0:0:1::"), ("1::0:0:2", "1::2"),
      ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ])
  func ipv6(_ text: String, _ canonical: String) throws {
    let address = try IPv6Address(parsing: text)
    #expect(address.description == canonical)
    #expect(try IPv6Address(parsing: canonical) == address)
    #expect(IPAddress(text) == .v6(address))
  }

  @Test(
    "What is not an IPv6 address is refused",
    arguments: [
      "", ":", ":::", "1", "1:", ":1", "::1:", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::1::", "12345::",
      "g::", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "fe80::1%eth0", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256",
      "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "::ffff:1.2.3.04", " ::1", "::1 ", "::1\n", "[::1]", "::/0",
      "0x1::", "::-1", "::+1", "１::", "::1\u{0}", String(repeating: "1:", count: 500),
      String(repeating: ":", count: 100_000),
    ])
  func notIPv6(_ text: String) {
    #expect(IPv6Address(text) == nil)
  }

  @Test(
    "IPv4 addresses are four decimal numbers",
    arguments: [
      ("0.0.0.0", 0), ("255.255.255.255", 0xffff_ffff), ("192.0.2.1", 0xc000_0201), ("1.20.30.4", 0x0114_1e04),
    ])
  func ipv4(_ text: String, _ value: Int) throws {
    let address = try IPv4Address(parsing: text)
    #expect(Int(address.value) == value)
    #expect(address.description == text)
  }

  @Test(
    "What is not an IPv4 address is refused",
    arguments: [
      "", ".", "...", "1.2.3", "1.2.3.4.5", "1.2.3.4.", ".1.2.3.4", "1..2.3", "256.0.0.0", "01.2.3.4", "00.0.0.0",
      "1.2.3.-4", "1.2.3.+4", "1.2.3.4 ", " 1.2.3.4", "0x1.2.3.4", "1.2.3.a", "1,2,3,4", "1.2.3.٤", "3232235777",
      "1.2.3.4\n", "1.2.3.99999999999999999999", "localhost", String(repeating: "1", count: 1_000_000),
    ])
  func notIPv4(_ text: String) {
    #expect(IPv4Address(text) == nil)
    #expect(throws: ValueTextError.self) { try IPAddress(parsing: text) }
  }

  @Test(
    "Prefixes are read and written",
    arguments: [
      ("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3"), ("10.1.2.3/32", "10.1.2.3"), ("0.0.0.0/0", "0.0.0.0/0"),
      ("::/0", "::/0"), ("2001:DB8::/32", "2001:db8::/32"), ("::1", "::1"), ("::1/128", "::1"),
      ("128.0.0.0/1", "128.0.0.0/1"), ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104"),
    ])
  func prefix(_ text: String, _ canonical: String) throws {
    let prefix = try IPPrefix(parsing: text)
    #expect(prefix.description == canonical)
    #expect(IPPrefix(canonical) == prefix)
    let json = try JSONEncoder().encode([prefix])
    #expect(try JSONDecoder().decode([IPPrefix].self, from: json) == [prefix])
  }

  @Test(
    "What is not a prefix is refused",
    arguments: [
      "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8/8",
      "10.0.0.0/255.0.0.0", "10/8", "::/129", "::/", "10.0.0.0/ 8", "10.0.0.0 /8", "2001:db8::/99999999999999999999",
      "10.0.0.0\\8", "any",
    ])
  func notPrefix(_ text: String) {
    #expect(IPPrefix(text) == nil)
  }

  @Test("Host bits that are set are refused with the network and the host as suggestions")
  func hostBits() throws {
    let error = try #require(throws: ValueTextError.self) { try IPPrefix(parsing: "10.1.2.3/8") }
    #expect(error.suggestion == "10.0.0.0/8 for the network or 10.1.2.3 for the host")
    #expect(error.description.contains("bits set beyond the first 8"))
    #expect(throws: ValueTextError.self) { try IPPrefix(parsing: "2001:db8::1/64") }
    #expect(throws: ValueTextError.self) { try IPPrefix(parsing: "0.0.0.1/0") }
  }

  @Test("A prefix of every length contains its first and last address and not their neighbours", arguments: 0...128)
  func contains(length: Int) {
    for family in IPFamily.allCases where length <= family.bitCount {
      let middle = IPAddress(family: family, value: 0x5a5a_5a5a << 96 | 0x5a5a_5a5a)
      let prefix = IPPrefix(middle, length: length)
      #expect(prefix.contains(middle) && prefix.contains(prefix.address) && prefix.contains(prefix.lastAddress))
      #expect(prefix.contains(prefix) && prefix.contains(IPPrefix(host: middle)))
      if length > 0 {
        #expect(!prefix.contains(IPAddress(family: family, value: prefix.address.value &- 1)))
        #expect(!prefix.contains(IPAddress(family: family, value: prefix.lastAddress.value &+ 1)))
        #expect(!prefix.contains(IPPrefix(middle, length: length - 1)))
      }
      let other: IPFamily = family == .ipv4 ? .ipv6 : .ipv4
      #expect(!prefix.contains(IPAddress(family: other, value: prefix.address.value)))
    }
  }

  @Test("MAC addresses take colons or hyphens", arguments: ["02:00:5e:10:00:ff", "02-00-5E-10-00-FF"])
  func mac(_ text: String) throws {
    let address = try MACAddress(parsing: text)
    #expect(address == MACAddress(0x02, 0, 0x5e, 0x10, 0, 0xff))
    #expect(address.description == "02:00:5e:10:00:ff")
  }

  @Test(
    "What is not a MAC address is refused",
    arguments: [
      "", "02:00:5e:10:00", "02:00:5e:10:00:0g", "02:00-5e:10:00:ff", "0200.5e10.00ff", "02:00:5e:10:00:ff:",
      "2:0:5e:10:0:ff123456",
    ])
  func notMAC(_ text: String) {
    #expect(MACAddress(text) == nil)
  }

  @Test("Messages never carry control characters or endless text")
  func excerpts() {
    let error = ValueTextError(expected: "x", text: "a\u{1b}[31m\n" + String(repeating: "b", count: 1000), reason: "y")
    #expect(error.text.unicodeScalars.count == 65)
    #expect(!error.text.unicodeScalars.contains { $0.value < 0x20 })
  }
}

@Suite("IP protocols as text")
struct IPProtocolTests {
  @Test("Every number reads as its own text", arguments: UInt8.min...UInt8.max)
  func numbers(_ number: UInt8) throws {
    let value = IPProtocol(rawValue: number)
    #expect(try IPProtocol(parsing: value.description) == value)
    #expect(try IPProtocol(parsing: String(number)) == value)
    #expect(try JSONDecoder().decode([IPProtocol].self, from: JSONEncoder().encode([value])) == [value])
    #expect(try JSONDecoder().decode([IPProtocol].self, from: Data("[\(number)]".utf8)) == [value])
  }

  @Test(
    "Names are IANA's",
    arguments: [
      ("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58), ("ipv6-icmp", 58), ("gre", 47), ("esp", 50), ("ah", 51),
      ("sctp", 132), ("ipip", 4), ("ospf", 89), ("vrrp", 112),
    ])
  func names(_ name: String, _ number: Int) throws {
    #expect(try IPProtocol(parsing: name).rawValue == UInt8(number))
  }

  @Test("What is not a protocol is refused", arguments: ["", "256", "-1", "06", "t cp", "tcp ", "6.0", "0x6", "１７"])
  func refused(_ text: String) {
    #expect(IPProtocol(text) == nil)
  }

  @Test("Capitals are refused with the right name")
  func capitals() throws {
    let error = try #require(throws: ValueTextError.self) { try IPProtocol(parsing: "TCP") }
    #expect(error.suggestion == "tcp")
  }

  @Test("Malformed reasons have the ABI's order")
  func reasons() {
    #expect(MalformedReason.allCases.map(\.index) == Array(1...11))
    for reason in MalformedReason.allCases { #expect(MalformedReason(index: reason.index) == reason) }
    for index in [-1, 0, 12, .max, .min] { #expect(MalformedReason(index: index) == nil) }
  }
}
