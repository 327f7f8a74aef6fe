import CLinuxShims
import Glibc
import LinuxSystem

/// The system calls between a fresh AF_XDP descriptor and a bound socket.
enum SocketSetup {
  /// How a socket is bound.
  struct Mode {
    let isZeroCopy: Bool
    let copyReason: String?
    let bindRetries: Int
  }

  static func register(
    _ memory: UMEM, on descriptor: borrowing OwnedDescriptor, subject: String
  ) throws(SystemError) {
    var registration = sluice_xdp_umem_reg()
    registration.addr = UInt64(UInt(bitPattern: memory.base))
    registration.len = UInt64(memory.byteCount)
    registration.chunk_size = memory.geometry.frameByteCount
    registration.headroom = memory.geometry.headroomByteCount
    if memory.geometry.isUnaligned { registration.flags |= UInt32(XDP_UMEM_UNALIGNED_CHUNK_FLAG) }
    let metadataByteCount = memory.geometry.transmitMetadataByteCount
    if metadataByteCount > 0 {
      registration.flags |= UInt32(SLUICE_XDP_UMEM_TX_METADATA_LEN)
      registration.tx_metadata_len = metadataByteCount
    }
    if memory.geometry.computesChecksumsInSoftware { registration.flags |= UInt32(SLUICE_XDP_UMEM_TX_SW_CSUM) }
    do throws(SystemError) {
      try setOption(XDP_UMEM_REG, of: descriptor, to: registration, operation: "register UMEM", subject: subject)
    } catch {
      // The geometry is checked: what is invalid is a flag that the kernel doesn't know.
      if error.code == EINVAL && metadataByteCount > 0 {
        throw error.withRemedy("transmit metadata needs Linux 6.8")
      }
      let isLimit = error.code == ENOBUFS || error.code == EPERM || error.code == ENOMEM
      throw error.withRemedy(
        isLimit ? "needs CAP_IPC_LOCK, or a memory lock limit above \(memory.byteCount) bytes" : nil)
    }
  }

  /// Busy polling and the transmit budget. After the rings are made, before the bind.
  static func tune(
    _ descriptor: borrowing OwnedDescriptor, _ options: XDPSocket.Options, subject: String
  ) throws(SystemError) {
    if let busyPoll = options.busyPoll {
      for (option, value) in [
        (SLUICE_SO_PREFER_BUSY_POLL, 1), (SLUICE_SO_BUSY_POLL, busyPoll.microseconds),
        (SLUICE_SO_BUSY_POLL_BUDGET, busyPoll.budget),
      ] {
        try setOption(
          option, level: SOL_SOCKET, of: descriptor, to: CInt(clamping: value), operation: "set busy polling",
          subject: subject, needs: .netAdmin)
      }
    }
    if let budget = options.transmitBudget, options.transmitEntryCount > 0 {
      do throws(SystemError) {
        try setOption(
          SLUICE_XDP_MAX_TX_SKB_BUDGET, of: descriptor, to: budget, operation: "set transmit budget", subject: subject)
      } catch {
        // Kernels without it send 32 per kick.
        if error.code == ENOPROTOOPT { return }
        throw error.withRemedy(
          "32 to \(options.transmitEntryCount) packets, the size of the transmit ring, not \(budget)")
      }
    }
  }

  /// Binds in the mode that was asked for, or the next best one, and says what it became and why.
  static func bind(
    _ descriptor: borrowing OwnedDescriptor, interface: NetworkInterface, queue: UInt32, options: XDPSocket.Options,
    sharing first: CInt?, subject: String
  ) throws(SystemError) -> Mode {
    let deadline = SystemClock.monotonicNanoseconds() + UInt64(options.bindTimeoutMilliseconds) * 1_000_000
    var retries = 0
    var reason = options.zeroCopy == .off ? "zero-copy is off" : "the program is attached in generic mode"
    var address = sockaddr_xdp()
    address.sxdp_family = UInt16(AF_XDP)
    address.sxdp_ifindex = interface.index
    address.sxdp_queue_id = queue
    let zeroCopyIsRequired = options.zeroCopy == .required
    if zeroCopyIsRequired && !options.isProgramNative {
      throw SystemError(
        operation: "bind", code: EOPNOTSUPP, subject: subject, remedy: "zero-copy needs a program in native mode")
    }
    if let first {
      // The kernel takes no other flag here: mode and wake-ups are the first socket's.
      address.sxdp_flags = UInt16(XDP_SHARED_UMEM)
      address.sxdp_shared_umem_fd = UInt32(first)
      reason = "the memory's first socket copies"
    } else {
      let flags =
        (options.usesNeedWakeup ? XDP_USE_NEED_WAKEUP : 0) | (options.usesFragments ? SLUICE_XDP_USE_SG : 0)
      if options.zeroCopy != .off && options.isProgramNative {
        address.sxdp_flags = UInt16(XDP_ZEROCOPY | flags)
        do throws(SystemError) {
          try bind(descriptor, &address, deadline, &retries, subject)
          return try mode(descriptor, options, reason, retries, subject)
        } catch {
          let queueIsUnfit = [EBUSY, ENODEV, ENETDOWN, EPERM].contains(error.code)
          if queueIsUnfit || zeroCopyIsRequired {
            throw explain(error, interface: interface, queue: queue, options, zeroCopyIsRequired: zeroCopyIsRequired)
          }
          let driver = (try? interface.driver()) ?? interface.kind
          let kind = isAboutFragments(interface, options) ? " of packets in several buffers" : ""
          reason = "driver \(driver.isEmpty ? "unknown" : driver) refused zero-copy\(kind) (\(error.codeName))"
        }
      }
      address.sxdp_flags = UInt16(XDP_COPY | flags)
    }
    do throws(SystemError) {
      try bind(descriptor, &address, deadline, &retries, subject)
    } catch {
      let explained = explain(
        error, interface: interface, queue: queue, options, zeroCopyIsRequired: first != nil && zeroCopyIsRequired)
      let mayLackFragments = error.code == EINVAL && options.usesFragments && explained.remedy == nil
      throw mayLackFragments ? explained.withRemedy("packets in several buffers need Linux 6.6") : explained
    }
    let mode = try mode(descriptor, options, reason, retries, subject)
    if zeroCopyIsRequired && !mode.isZeroCopy {
      throw SystemError(operation: "bind", code: EOPNOTSUPP, subject: subject, remedy: mode.copyReason)
    }
    return mode
  }

  /// EBUSY right after another socket left the queue is the kernel's deferred teardown: it passes.
  private static func bind(
    _ descriptor: borrowing OwnedDescriptor, _ address: inout sockaddr_xdp, _ deadline: UInt64, _ retries: inout Int,
    _ subject: String
  ) throws(SystemError) {
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
    _ error: SystemError, interface: NetworkInterface, queue: UInt32, _ options: XDPSocket.Options,
    zeroCopyIsRequired: Bool
  ) -> SystemError {
    let queueCount = (try? interface.receiveQueueCount()) ?? interface.rxQueueCount
    switch error.code {
    case EBUSY: return error.withRemedy("another AF_XDP socket is bound to the queue")
    case EINVAL where queue >= queueCount: return error.withRemedy("\(interface.name) has \(queueCount) receive queues")
    case ENETDOWN: return error.withRemedy("bring \(interface.name) up")
    case ENODEV: return error.withRemedy("the interface is gone")
    case EOPNOTSUPP, EINVAL:
      guard zeroCopyIsRequired else { return error }
      let driver = (try? interface.driver()) ?? interface.kind
      return error.withRemedy(
        isAboutFragments(interface, options)
          ? "driver \(driver) has no zero-copy of packets in several buffers: lower the MTU of \(interface.name), or ask for "
            + "zero_copy auto or off"
          : "driver \(driver) has no zero-copy here: ask for zero_copy auto or off")
    default: return error
    }
  }

  /// Whether a driver that has zero-copy refused it for the sake of fragments.
  private static func isAboutFragments(_ interface: NetworkInterface, _ options: XDPSocket.Options) -> Bool {
    let features = (try? interface.xdpFeatures()) ?? nil
    return options.usesFragments && features?.contains(.zeroCopy) == true
  }

  /// Zero-copy is what the kernel says and the program lets come true: a driver may accept the bind under a generic
  /// program, and then every packet is copied all the same.
  private static func mode(
    _ descriptor: borrowing OwnedDescriptor, _ options: XDPSocket.Options, _ reason: String, _ retries: Int,
    _ subject: String
  ) throws(SystemError) -> Mode {
    let bound = try option(
      XDP_OPTIONS, of: descriptor.rawValue, initial: xdp_options(), operation: "read XDP options", subject: subject)
    let isBoundZeroCopy = bound.flags & UInt32(XDP_OPTIONS_ZEROCOPY) != 0
    if isBoundZeroCopy && options.isProgramNative {
      return Mode(isZeroCopy: true, copyReason: nil, bindRetries: retries)
    }
    return Mode(
      isZeroCopy: false, copyReason: isBoundZeroCopy ? "the program is attached in generic mode" : reason,
      bindRetries: retries)
  }

  static func setOption<Value: BitwiseCopyable>(
    _ name: CInt, level: CInt = SOL_XDP, of descriptor: borrowing OwnedDescriptor, to value: Value,
    operation: StaticString, subject: String, needs: Capability? = nil
  ) throws(SystemError) {
    let raw = descriptor.rawValue
    try check(operation, subject, needs: needs) {
      withUnsafeBytes(of: value) { setsockopt(raw, level, name, $0.baseAddress, socklen_t($0.count)) }
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
