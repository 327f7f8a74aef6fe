extension Topology {
  /// CPUs for the packet threads of an interface, one for each of `count` queues: of its NUMA node, and not CPU 0 where
  /// there is another, since that one serves most interrupts and timers. They repeat where there are not enough.
  ///
  /// - Parameters:
  ///   - node: The interface's node; negative: any.
  ///   - offset: How many packet threads were placed before, so that several interfaces don't crowd on one CPU.
  public static func packetCPUs(count: Int, nearNode node: Int, offset: Int) throws(SystemError) -> [Int] {
    let near = node < 0 ? [] : try cpus(ofNode: node)
    return choose(count: count, of: try allowedCPUs(), near: near, offset: offset)
  }

  /// The choice itself. None if nothing is allowed.
  static func choose(count: Int, of allowed: [Int], near: [Int], offset: Int) -> [Int] {
    let close = allowed.filter(Set(near).contains)
    let candidates = close.isEmpty ? allowed : close
    let quiet = candidates.filter { $0 != 0 }
    let cpus = quiet.isEmpty ? candidates : quiet
    return cpus.isEmpty ? [] : (0..<max(count, 0)).map { cpus[(max(offset, 0) + $0) % cpus.count] }
  }
}
