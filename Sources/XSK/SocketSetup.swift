import CLinuxShims
import Glibc
import LinuxSystem

/// The system calls between a fresh AF_XDP descriptor and a bound socket.
enum SocketSetup {
  static func register(
    _ memory: borrowing UMEM, on descriptor: borrowing OwnedDescriptor, subject: String
  ) throws(SystemError) {
    var registration = xdp_umem_reg()
    // The C struct ends in padding that newer kernels read as a field: all of it is zero.
    withUnsafeMutableBytes(of: &registration) { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) }
    registration.addr = UInt64(UInt(bitPattern: memory.base))
    registration.len = UInt64(memory.byteCount)
    registration.chunk_size = memory.geometry.frameByteCount
    registration.headroom = memory.geometry.headroomByteCount
    do throws(SystemError) {
      try setOption(XDP_UMEM_REG, of: descriptor, to: registration, operation: "register UMEM", subject: subject)
    } catch {
      let isLimit = error.code == ENOBUFS || error.code == EPERM || error.code == ENOMEM
      throw error.withRemedy(
        isLimit ? "needs CAP_IPC_LOCK, or a memory lock limit above \(memory.byteCount) bytes" : nil)
    }
  }

  /// Binds in the mode that was asked for, or the next best one, and says what it became and why.
  static func bind(
    _ descriptor: borrowing OwnedDescriptor, interface: NetworkInterface, queue: UInt32, options: XDPSocket.Options,
    subject: String
  ) throws(SystemError) -> (isZeroCopy: Bool, reason: String?, retries: Int) {
    let deadline = SystemClock.monotonicNanoseconds() + UInt64(options.bindTimeoutMilliseconds) * 1_000_000
    var retries = 0
    var reason = "zero-copy is off"
    if options.zeroCopy != .off {
      do throws(SystemError) {
        try bind(descriptor, interface, queue, UInt16(XDP_ZEROCOPY), deadline, &retries, subject)
        return (try isZeroCopy(descriptor, subject), nil, retries)
      } catch {
        let queueIsUnfit = [EBUSY, ENODEV, ENETDOWN, EPERM].contains(error.code)
        if queueIsUnfit || options.zeroCopy == .required {
          throw explain(error, interface: interface, queue: queue, zeroCopyIsRequired: options.zeroCopy == .required)
        }
        let driver = (try? interface.driver()) ?? interface.kind
        reason = "driver \(driver.isEmpty ? "unknown" : driver) refused zero-copy (\(error.codeName))"
      }
    }
    do throws(SystemError) {
      try bind(descriptor, interface, queue, UInt16(XDP_COPY), deadline, &retries, subject)
    } catch {
      throw explain(error, interface: interface, queue: queue, zeroCopyIsRequired: false)
    }
    return (try isZeroCopy(descriptor, subject), reason, retries)
  }

  /// One mode. EBUSY right after another socket left the queue is the kernel's deferred teardown: it passes.
  private static func bind(
    _ descriptor: borrowing OwnedDescriptor, _ interface: NetworkInterface, _ queue: UInt32, _ mode: UInt16,
    _ deadline: UInt64, _ retries: inout Int, _ subject: String
  ) throws(SystemError) {
    var address = sockaddr_xdp()
    address.sxdp_family = UInt16(AF_XDP)
    address.sxdp_flags = mode | UInt16(XDP_USE_NEED_WAKEUP)
    address.sxdp_ifindex = interface.index
    address.sxdp_queue_id = queue
    let raw = descriptor.rawValue
    while true {
      do throws(SystemError) {
        try check("bind", subject, needs: .netRaw) {
          withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
              Glibc.bind(raw, $0, socklen_t(MemoryLayout<sockaddr_xdp>.size))
            }
          }
        }
        return
      } catch {
        if error.code != EBUSY || SystemClock.monotonicNanoseconds() >= deadline { throw error }
        retries += 1
        usleep(5_000)
      }
    }
  }

  private static func explain(
    _ error: SystemError, interface: NetworkInterface, queue: UInt32, zeroCopyIsRequired: Bool
  ) -> SystemError {
    let queueCount = (try? interface.receiveQueueCount()) ?? interface.rxQueueCount
    switch error.code {
    case EBUSY: return error.withRemedy("another AF_XDP socket is bound to the queue")
    case EINVAL where queue >= queueCount: return error.withRemedy("\(interface.name) has \(queueCount) receive queues")
    case ENETDOWN: return error.withRemedy("bring \(interface.name) up")
    case ENODEV: return error.withRemedy("the interface is gone")
    case EOPNOTSUPP, EINVAL:
      let driver = (try? interface.driver()) ?? interface.kind
      return error.withRemedy(
        zeroCopyIsRequired ? "driver \(driver) has no zero-copy here: ask for zero_copy auto or off" : nil)
    default: return error
    }
  }

  private static func isZeroCopy(
    _ descriptor: borrowing OwnedDescriptor, _ subject: String
  ) throws(SystemError) -> Bool {
    let options = try option(
      XDP_OPTIONS, of: descriptor.rawValue, initial: xdp_options(), operation: "read XDP options", subject: subject)
    return options.flags & UInt32(XDP_OPTIONS_ZEROCOPY) != 0
  }

  static func setOption<Value: BitwiseCopyable>(
    _ name: CInt, of descriptor: borrowing OwnedDescriptor, to value: Value, operation: StaticString, subject: String
  ) throws(SystemError) {
    let raw = descriptor.rawValue
    try check(operation, subject) {
      withUnsafeBytes(of: value) { setsockopt(raw, SOL_XDP, name, $0.baseAddress, socklen_t($0.count)) }
    }
  }

  static func option<Value: BitwiseCopyable>(
    _ name: CInt, of descriptor: CInt, initial: Value, operation: StaticString, subject: String
  ) throws(SystemError) -> Value {
    var value = initial
    var length = socklen_t(MemoryLayout<Value>.size)
    try check(operation, subject) {
      withUnsafeMutableBytes(of: &value) { getsockopt(descriptor, SOL_XDP, name, $0.baseAddress, &length) }
    }
    return value
  }
}

/// The shared memory of a socket's rings.
struct RingMappings: ~Copyable {
  private let fill: MappedRegion
  private let receive: MappedRegion
  private let offsets: xdp_mmap_offsets
  private let fillEntryCount: UInt32
  private let receiveEntryCount: UInt32

  init(
    _ descriptor: borrowing OwnedDescriptor, fillEntryCount: UInt32, receiveEntryCount: UInt32, subject: String
  ) throws(SystemError) {
    // The kernel binds no UMEM without a completion ring; nothing is transmitted, so it stays empty and unmapped.
    let completionEntryCount: UInt32 = 2
    for (option, count) in [
      (XDP_UMEM_FILL_RING, fillEntryCount), (XDP_UMEM_COMPLETION_RING, completionEntryCount),
      (XDP_RX_RING, receiveEntryCount),
    ] {
      try SocketSetup.setOption(option, of: descriptor, to: count, operation: "make ring", subject: subject)
    }
    let offsets: xdp_mmap_offsets = try SocketSetup.option(
      XDP_MMAP_OFFSETS, of: descriptor.rawValue, initial: xdp_mmap_offsets(), operation: "read ring offsets",
      subject: subject)
    let fill = try MappedRegion(
      sharing: descriptor, offset: Int(sluice_xdp_page_offset_fill),
      byteCount: Int(offsets.fr.desc) + Int(fillEntryCount) * MemoryLayout<UInt64>.stride,
      subject: "fill ring of \(subject)")
    let receive = try MappedRegion(
      sharing: descriptor, offset: Int(sluice_xdp_page_offset_rx),
      byteCount: Int(offsets.rx.desc) + Int(receiveEntryCount) * MemoryLayout<ReceiveDescriptor>.stride,
      subject: "receive ring of \(subject)")
    self.fill = fill
    self.receive = receive
    self.offsets = offsets
    self.fillEntryCount = fillEntryCount
    self.receiveEntryCount = receiveEntryCount
  }

  /// The offsets are the kernel's own, inside the mappings; the ring must not outlive this value.
  borrowing func fillRing() -> ProducerRing<UInt64> {
    let base = fill.base
    return ProducerRing(
      producer: base + Int(offsets.fr.producer), consumer: base + Int(offsets.fr.consumer),
      flags: base + Int(offsets.fr.flags), slots: base + Int(offsets.fr.desc), entryCount: fillEntryCount)
  }

  borrowing func receiveRing() -> ConsumerRing<ReceiveDescriptor> {
    let base = receive.base
    return ConsumerRing(
      producer: base + Int(offsets.rx.producer), consumer: base + Int(offsets.rx.consumer),
      slots: base + Int(offsets.rx.desc), entryCount: receiveEntryCount)
  }
}
