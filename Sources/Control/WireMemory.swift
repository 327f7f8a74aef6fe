import DataPlane

/// The memory of wires' packet threads: frames, and slots for flows.
enum WireMemory {
  /// Of all wires together: half of the machine's memory. A wire that took all would take the daemon with it, and be
  /// started again with the next one.
  static let byteCountMax = 2 * CaptureMemory.byteCountMax

  /// What the threads of one wire take; throws where there is no room for it.
  ///
  /// - Parameter used: Bytes of the other wires.
  static func byteCount(
    of threads: [WireConfiguration], used: Int, limit: Int = byteCountMax
  ) throws(ControlError) -> Int {
    let wanted = threads.reduce(0) { $0 + $1.memoryByteCount }
    guard wanted <= limit - used else {
      throw ControlError(
        .resourceExhausted,
        "\(threads.count) queues with frames and flows of \((threads.first?.memoryByteCount ?? 0) >> 20) MiB each take "
          + "\(wanted >> 20) MiB, and wires have \(max(0, limit - used) >> 20) of \(limit >> 20) MiB left "
          + "(wire_memory_bytes_max): fewer flows (flows_max) or shorter rings (ring_entries) take less")
    }
    return wanted
  }
}
