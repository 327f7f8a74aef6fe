import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Where the maps and the link of one interface are pinned, so that packets are decided and counters kept when the
/// daemon is gone: `BPFFS/sluice/vN/INTERFACE`. `N` is the ABI version: another ABI cannot use these maps.
public struct PinDirectory: Hashable, Sendable {
  public let path: String

  /// - Parameter bpffs: The mount point of a BPF file system.
  public init(bpffs: String, interface: String) {
    path = "\(PinDirectory.root(bpffs: bpffs))/\(PinDirectory.encode(interface))"
  }

  static func root(bpffs: String) -> String { "\(bpffs)/sluice/v\(SLUICE_ABI_VERSION)" }

  func path(of name: String) -> String { "\(path)/\(name)" }

  /// Makes the directory and those above it, for root alone.
  func make() throws(ProgramError) {
    var current = ""
    for component in path.split(separator: "/") {
      current += "/\(component)"
      if mkdir(current, 0o700) != 0, errno != EEXIST {
        throw .system(systemError("make pin directory", current, code: errno))
      }
    }
  }

  /// Unpins everything. What is not used by anything else is gone with that.
  public func remove() {
    for name in ProgramMaps.names + ["link"] { unlink(path(of: name)) }
    rmdir(path)
  }

  /// The interfaces that have pins below a mount point.
  public static func interfaces(bpffs: String) -> [String] {
    guard let directory = opendir(root(bpffs: bpffs)) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(decode(name)) }
    }
    return names.sorted()
  }

  /// bpffs reserves names with a dot (kernel/bpf/inode.c, bpf_lookup): `.` becomes `%2e`, and `%` becomes `%25`.
  static func encode(_ interface: String) -> String {
    String(interface.flatMap { $0 == "." ? "%2e" : $0 == "%" ? "%25" : "\($0)" })
  }

  static func decode(_ name: String) -> String {
    var result = ""
    var rest = name[...]
    while let first = rest.first {
      if rest.hasPrefix("%2e") {
        result += "."
        rest = rest.dropFirst(3)
      } else if rest.hasPrefix("%25") {
        result += "%"
        rest = rest.dropFirst(3)
      } else {
        result.append(first)
        rest = rest.dropFirst()
      }
    }
    return result
  }
}
