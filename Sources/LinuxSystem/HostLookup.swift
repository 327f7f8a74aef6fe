import Glibc

/// The addresses that the name of a host stands for.
public enum HostLookup {
  /// Of one name. An honest one has fewer; beyond, the lookup fails rather than leave some out.
  public static let addressesMax = 64

  /// Why a name has no addresses.
  public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    public let name: String
    public let reason: String
    public var description: String { "\(name) cannot be looked up: \(reason)" }
  }

  /// All of them as numbers, in the order in which the system would try them, each once. Whatever the system takes for a
  /// number (`127.1`, `0x7f000001`) is one here, too. Blocks for as long as the system's resolver takes.
  public static func addresses(of name: String) throws(Failure) -> [String] {
    var hints = addrinfo()
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    guard code == 0 else { throw Failure(name: name, reason: String(cString: gai_strerror(code))) }
    defer { freeaddrinfo(list) }
    var found: [String] = []
    var next = list
    while let entry = next?.pointee {
      let text = try number(of: entry, name)
      if !found.contains(text) { found.append(text) }
      next = entry.ai_next
    }
    guard found.count <= addressesMax else {
      throw Failure(name: name, reason: "it has more than \(addressesMax) addresses")
    }
    return found
  }

  private static func number(of entry: addrinfo, _ name: String) throws(Failure) -> String {
    // An address with its zone is far shorter.
    var text = [CChar](repeating: 0, count: 128)
    let code = getnameinfo(
      entry.ai_addr, entry.ai_addrlen, &text, socklen_t(text.count), nil, 0, CInt(NI_NUMERICHOST))
    guard code == 0 else { throw Failure(name: name, reason: String(cString: gai_strerror(code))) }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
