/// Which interfaces carry a default route, from the kernel's text tables. Pure.
public enum DefaultRoutes {
  private static let isUp: UInt32 = 1  // RTF_UP
  private static let isReject: UInt32 = 0x200  // RTF_REJECT

  /// From /proc/net/route: a head, then interface, destination, gateway, flags, …, mask as the eighth field.
  public static func ipv4Interfaces(_ text: String) -> Set<String> {
    var names: Set<String> = []
    for line in text.split(separator: "\n").dropFirst() {
      let fields = line.split { $0 == "\t" || $0 == " " }
      guard fields.count >= 8, UInt32(fields[1], radix: 16) == 0, UInt32(fields[7], radix: 16) == 0,
        let flags = UInt32(fields[3], radix: 16), flags & isUp != 0, flags & isReject == 0
      else { continue }
      names.insert(String(fields[0]))
    }
    return names
  }

  /// From /proc/net/ipv6_route: destination, prefix length, …, flags as the ninth field, interface as the tenth.
  public static func ipv6Interfaces(_ text: String) -> Set<String> {
    var names: Set<String> = []
    for line in text.split(separator: "\n") {
      let fields = line.split { $0 == "\t" || $0 == " " }
      guard fields.count >= 10, fields[0].allSatisfy({ $0 == "0" }), UInt32(fields[1], radix: 16) == 0,
        let flags = UInt32(fields[8], radix: 16), flags & isUp != 0, flags & isReject == 0
      else { continue }
      names.insert(String(fields[9]))
    }
    return names
  }
}
