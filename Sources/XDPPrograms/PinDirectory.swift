import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Where the maps and the link of one interface are pinned, so that packets are decided and counters kept when the
/// daemon is gone: `BPFFS/sluice/vN/INTERFACE`. `N` is the ABI version: another ABI cannot use these maps.
public struct PinDirectory: Hashable, Sendable {
  public let path: String
  private let bpffs: String
  let interface: String

  /// - Parameter bpffs: The mount point of a BPF file system.
  public init(bpffs: String, interface: String) {
    self.init(bpffs: bpffs, version: PinDirectory.version, interface: interface)
  }

  private init(bpffs: String, version: String, interface: String) {
    path = "\(PinDirectory.root(bpffs: bpffs, version: version))/\(PinDirectory.encode(interface))"
    self.bpffs = bpffs
    self.interface = interface
  }

  private static var version: String { "v\(SLUICE_ABI_VERSION)" }
  private static func root(bpffs: String, version: String) -> String { "\(bpffs)/sluice/\(version)" }

  /// Of all daemons that left pins.
  private static func versions(bpffs: String) -> [String] {
    entries(of: "\(bpffs)/sluice").filter { $0.hasPrefix("v") }
  }

  /// What daemons of other ABI versions left pinned for this interface.
  var ofOtherVersions: [PinDirectory] {
    PinDirectory.versions(bpffs: bpffs).filter { $0 != PinDirectory.version }
      .map { PinDirectory(bpffs: bpffs, version: $0, interface: interface) }
      .filter { access($0.path, F_OK) == 0 }
  }

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
    empty()
    rmdir(path)
  }

  /// The same, but the directory stays: its lock is on it.
  func empty() {
    for name in PinDirectory.entries(of: path) { unlink(path(of: name)) }
  }

  /// The same, and what daemons of other ABI versions left of the interface.
  public func removeOfAllVersions() {
    remove()
    for other in ofOtherVersions { other.remove() }
  }

  /// The interfaces that have pins below a mount point, of any ABI version.
  public static func interfaces(bpffs: String) -> [String] {
    Set(versions(bpffs: bpffs).flatMap { entries(of: root(bpffs: bpffs, version: $0)).map(decode) }).sorted()
  }

  private static func entries(of directory: String) -> [String] {
    guard let directory = opendir(directory) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
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

/// The right to the pins of an interface, which one process has at a time: what two daemons did to one link would leave
/// each with a wrong idea of what decides. It ends with the process, also when that is killed.
struct PinLock: ~Copyable {
  private let lock: FileLock
  private let path: String
  private var isUsed = false

  /// Makes the directory, and removes it where nothing comes into it.
  init(_ pins: PinDirectory) throws(ProgramError) {
    try pins.make()
    lock = try PinLock.take(pins)
    path = pins.path
  }

  private static func take(_ pins: PinDirectory) throws(ProgramError) -> FileLock {
    do throws(SystemError) { return try FileLock(directory: pins.path) } catch {
      guard error.code == EWOULDBLOCK else { throw .system(error) }
      throw .heldByAnotherDaemon(interface: pins.interface, pins: pins.path)
    }
  }

  /// Something is pinned: the directory goes with that.
  mutating func use() { isUsed = true }

  deinit { if !isUsed { rmdir(path) } }
}
