import CLinuxShims
import Glibc

/// CPUs and NUMA nodes, as /sys shows them.
public enum Topology {
  /// Online CPUs in order.
  public static func onlineCPUs() throws(SystemError) -> [Int] { try list("/sys/devices/system/cpu/online") }

  /// CPUs that the calling thread may run on, in order.
  public static func allowedCPUs() throws(SystemError) -> [Int] {
    var cpus = [CInt](repeating: 0, count: 1024)
    let count = try check("read affinity") {
      cpus.withUnsafeMutableBufferPointer { sluice_thread_affinity($0.baseAddress, CInt($0.count)) }
    }
    return cpus.prefix(Int(count)).map { Int($0) }
  }

  /// Online NUMA nodes; `[0]` on a kernel without NUMA.
  public static func nodes() -> [Int] { (try? list("/sys/devices/system/node/online")) ?? [0] }

  /// The CPUs of a node; all online ones on a kernel without NUMA, and none for a node that isn't there.
  public static func cpus(ofNode node: Int) throws(SystemError) -> [Int] {
    if nodes() == [0], node == 0 { return try onlineCPUs() }
    do throws(SystemError) {
      return try list("/sys/devices/system/node/node\(node)/cpulist")
    } catch {
      if error.code == ENOENT { return [] }
      throw error
    }
  }

  private static func list(_ path: String) throws(SystemError) -> [Int] {
    guard let numbers = parseList(try SmallFile.readText(path)) else {
      throw SystemError(operation: "parse", code: EINVAL, subject: path)
    }
    return numbers
  }

  /// The kernel's list format, `0-3,8`. Nil for what isn't one, or names a number above 65,535.
  public static func parseList(_ text: String) -> [Int]? {
    if text.isEmpty { return [] }
    var numbers: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
      guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, first <= last else {
        return nil
      }
      numbers += Int(first)...Int(last)
    }
    return numbers
  }
}

/// Where memory lies after ``NUMA/place(_:onNode:)``.
public enum NUMAPlacement: Hashable, Sendable {
  /// The machine has one node: nothing to choose.
  case singleNode
  /// The kernel confirms that the memory is on the node that was asked for.
  case verified(node: Int)
  /// No node was asked for: the interface belongs to none.
  case unspecified
  /// Not there, or not known; the memory is usable all the same.
  case unverified(reason: String)

  /// The confirmed node; -1 in every other case.
  public var node: Int {
    if case .verified(let node) = self { return node }
    return -1
  }
}

public enum NUMA {
  /// Asks for fresh, untouched memory on a node, makes every page be there, and asks the kernel where it ended up.
  ///
  /// Huge pages are bound to the node: where it has too few of them, others are nearer than those of another node. Ordinary
  /// ones come from another node before the machine kills somebody for want of them.
  ///
  /// - Parameter node: nil or negative: no preference.
  /// - Throws: Where there is no such memory; the region cannot be used then.
  public static func place(_ region: borrowing MappedRegion, onNode node: Int?) throws(SystemError) -> NUMAPlacement {
    let base = region.base
    let byteCount = region.byteCount
    let nodes = Topology.nodes()
    var failure: String?
    if nodes.count > 1, let node, node >= 0,
      sluice_bind_to_node(base, byteCount, CInt(clamping: node), region.isHuge ? 1 : 0) != 0
    {
      failure = SystemError(operation: "mbind", code: errno, subject: "node \(node)").description
    }
    do throws(SystemError) {
      try region.populate()
    } catch {
      throw region.isHuge ? error.withRemedy(remedy(region, node)) : error
    }
    if nodes.count <= 1 { return .singleNode }
    guard let node, node >= 0 else { return .unspecified }
    if let failure { return .unverified(reason: failure) }
    for offset in [0, byteCount / 2, byteCount - 1] {
      let actual = sluice_node_of(base + offset)
      if actual < 0 {
        return .unverified(reason: SystemError(operation: "get_mempolicy", code: errno, subject: "").description)
      }
      if actual != CInt(clamping: node) {
        return .unverified(reason: "asked for node \(node), a page is on node \(actual)")
      }
    }
    return .verified(node: node)
  }

  private static func remedy(_ region: borrowing MappedRegion, _ node: Int?) -> String {
    let pages = "\(region.byteCount / region.pageByteCount) free huge pages of 2 MiB"
    guard let node, node >= 0, Topology.nodes().count > 1 else { return "needs \(pages), which a hugetlb cgroup may limit" }
    let folder = "/sys/devices/system/node/node\(node)/hugepages/hugepages-2048kB"
    return "needs \(pages) on node \(node): raise \(folder)/nr_hugepages"
  }
}
