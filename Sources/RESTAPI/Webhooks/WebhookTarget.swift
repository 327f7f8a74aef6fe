import Foundation
import LinuxSystem
import NIOCore
import NIOPosix
import Packets

/// Where a webhook sends to. What somebody types here makes this machine talk to it: see ``WebhookNetworks``.
///
/// Only plain forms are taken, and ``url`` is written anew from the parts that were checked, so that nobody who reads it
/// later sees another host in it.
struct WebhookTarget: Hashable, Sendable {
  let isTLS: Bool
  /// In lower case, or an address as it is written everywhere.
  let host: String
  /// Nil: a name, which is looked up whenever it is used.
  let address: IPAddress?
  /// Nil: the scheme's.
  let port: Int?
  /// Path and query as they were given, encoded.
  private let rest: String

  static let urlBytesMax = 2048
  /// Of one lookup. The system's own limit can be minutes.
  private static let lookupMax = TimeAmount.seconds(5)

  struct Refusal: Error, Hashable, CustomStringConvertible {
    let reason: String
    var description: String { reason }
  }

  var url: String {
    let shown = address?.family == .ipv6 ? "[\(host)]" : host
    return "\(isTLS ? "https" : "http")://\(shown)\(port.map { ":\($0)" } ?? "")\(rest)"
  }

  init(_ text: String) throws(Refusal) {
    guard text.utf8.count <= Self.urlBytesMax, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }),
      let parts = URLComponents(string: text), let written = parts.host, !written.isEmpty
    else { throw Refusal(reason: "is no URL: write https://host/path") }
    guard parts.scheme == "https" || parts.scheme == "http" else { throw Refusal(reason: "must begin with https://") }
    guard parts.user == nil, parts.password == nil, parts.fragment == nil else {
      throw Refusal(reason: "must have no user, no password and no fragment")
    }
    guard parts.port.map({ (1...65_535).contains($0) }) ?? true else { throw Refusal(reason: "has no such port") }
    let bare = written.hasPrefix("[") && written.hasSuffix("]") ? String(written.dropFirst().dropLast()) : written
    address = IPAddress(bare)
    host = address?.description ?? bare.lowercased()
    guard address != nil || Self.isName(host) else { throw Refusal(reason: "\(bare) is no name of a host") }
    isTLS = parts.scheme == "https"
    port = parts.port
    rest = (parts.percentEncodedPath.isEmpty ? "/" : parts.percentEncodedPath)
      + (parts.percentEncodedQuery.map { "?\($0)" } ?? "")
  }

  /// Labels of letters, digits, `-` and `_`, with single dots between.
  private static func isName(_ text: String) -> Bool {
    text.utf8.count <= 253
      && text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
        (1...63).contains(label.utf8.count)
          && label.utf8.allSatisfy {
            (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x5f
          }
      }
  }

  /// What is wrong with a URL by itself; nil: nothing.
  static func fault(of text: String, in networks: WebhookNetworks) -> String? {
    do throws(Refusal) {
      let target = try WebhookTarget(text)
      if let address = target.address {
        try networks.check(address, isTLS: target.isTLS)
      } else if networks.allowed.isEmpty {
        guard target.isTLS else { throw Refusal(reason: "must begin with https://") }
        guard target.host != "localhost", !target.host.hasSuffix(".localhost") else {
          throw Refusal(reason: "\(target.host) is this machine")
        }
      }
    } catch { return error.reason }
    return nil
  }

  /// The addresses to connect to: every one that the name stands for now, all of them checked. Who connects to one of
  /// these is led nowhere else by a name that says something different a moment later.
  func addresses(in networks: WebhookNetworks) async throws -> [IPAddress] {
    let texts: [String]
    if let address { texts = [address.description] } else { texts = try await Self.lookUp(host) }
    let addresses = try texts.map { text throws(Refusal) -> IPAddress in
      // A zone leads to a link of this machine: what has one is checked without it, and is not public.
      guard let address = IPAddress(String(text.prefix { $0 != "%" })) else {
        throw Refusal(reason: "\(host) has the address \(text), which cannot be read")
      }
      return address
    }
    guard !addresses.isEmpty else { throw Refusal(reason: "\(host) has no address") }
    for address in addresses { try networks.check(address, isTLS: isTLS) }
    return addresses
  }

  /// On a thread that may block; one that takes too long is left to itself.
  private static func lookUp(_ host: String) async throws -> [String] {
    let loop = MultiThreadedEventLoopGroup.singleton.any()
    let first = loop.makePromise(of: [String].self)
    // Of the two the later one has no effect.
    let timer = loop.scheduleTask(in: lookupMax) {
      first.fail(Refusal(reason: "\(host) was not looked up within \(lookupMax.nanoseconds / 1_000_000_000) s"))
    }
    NIOThreadPool.singleton.runIfActive(eventLoop: loop) { try HostLookup.addresses(of: host) }.whenComplete { result in
      timer.cancel()
      switch result {
      case .success(let found): first.succeed(found)
      case .failure(let error): first.fail(Refusal(reason: "\(error)"))
      }
    }
    return try await first.futureResult.get()
  }
}

/// Which addresses webhooks may go to: public ones by TLS, and whatever lies in the prefixes of the settings; never to
/// this machine's own services, nor to those of the network around it.
public struct WebhookNetworks: Hashable, Sendable {
  /// Beside the public ones; these without TLS, too.
  public var allowed: [IPPrefix]

  public init(allowed: [IPPrefix] = []) { self.allowed = allowed }

  func check(_ address: IPAddress, isTLS: Bool) throws(WebhookTarget.Refusal) {
    let meant = Self.unmapped(address)
    if allowed.contains(where: { $0.contains(meant) }) { return }
    guard Self.isPublic(meant) else {
      throw WebhookTarget.Refusal(
        reason: "\(address) is no public address, and SLUICE_WEBHOOK_PRIVATE_TARGETS doesn't allow it")
    }
    guard isTLS else { throw WebhookTarget.Refusal(reason: "must begin with https://") }
  }

  /// The IPv4 address that an IPv4-mapped one stands for: the system connects to that.
  private static func unmapped(_ address: IPAddress) -> IPAddress {
    mapped.contains(address) ? IPAddress(family: .ipv4, value: address.value & 0xffff_ffff) : address
  }

  /// What the world can reach: not this machine, its network, or what stands for another address.
  static func isPublic(_ address: IPAddress) -> Bool {
    switch address {
    case .v4: !special.contains { $0.contains(address) }
    case .v6: global.contains(address) && !special.contains { $0.contains(address) }
    }
  }

  private static let mapped = prefix("::ffff:0:0/96")
  /// The only IPv6 addresses that are given out; NAT64's 64:ff9b::/96 is not among them.
  private static let global = prefix("2000::/3")
  /// IANA's registries of special-purpose addresses, multicast, and in IPv6 what leads to IPv4 addresses.
  private static let special = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
  ].map(prefix)

  private static func prefix(_ text: String) -> IPPrefix {
    guard let prefix = IPPrefix(text) else { preconditionFailure("\(text) is a prefix") }
    return prefix
  }
}
