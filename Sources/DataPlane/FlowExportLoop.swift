import Flows
import Glibc
import LinuxSystem
import Synchronization
import XSK

/// The body of an exporter's thread, and all it owns.
struct FlowExportLoop: ~Copyable {
  private let collector: FlowCollector
  private let shared: FlowExporterShared
  private var encoder: IPFIXEncoder
  private var socket: UDPSocket?
  /// CLOCK_MONOTONIC, not before which the socket is opened again.
  private var opensAfter: UInt64 = 0
  /// CLOCK_MONOTONIC, from which on a full queue is not waited for: the end is to come soon.
  private var waitsUntil: UInt64 = .max

  /// Bounds how long a record waits here.
  private static var napMilliseconds: CInt { 200 }
  private static var reopenNanoseconds: UInt64 { 1_000_000_000 }
  /// Records of one source in a row.
  private static var drainLimit: Int { 1024 }
  /// How long a full queue of the kernel is waited for.
  private static var sendTimeoutMilliseconds: CInt { 100 }
  /// How long such waits may hold up the end.
  private static var stopNanoseconds: UInt64 { 2_000_000_000 }

  init(_ collector: FlowCollector, _ options: IPFIXEncoder.Options, _ shared: FlowExporterShared) {
    self.collector = collector
    self.shared = shared
    encoder = IPFIXEncoder(options)
    socket = nil
  }

  /// Until told to stop and all is sent.
  mutating func run() {
    while true {
      // Read before the rings: what was put in before the order to stop is sent.
      let isStopping = shared.isStopping.load(ordering: .acquiring)
      if isStopping, waitsUntil == .max {
        waitsUntil = SystemClock.monotonicNanoseconds() &+ FlowExportLoop.stopNanoseconds
      }
      let sources = shared.sources
      let offset = SystemClock.realtimeOffsetNanoseconds()
      var count = 0
      for source in sources { count += take(from: source, realtimeOffset: offset) }
      if count > 0 { continue }
      send()
      if isStopping { return }
      shared.removeExhausted()
      // Fails only where the system is out of memory; then the next round comes at once.
      try? shared.wake.sleep(timeoutMilliseconds: FlowExportLoop.napMilliseconds) {
        shared.isStopping.load(ordering: .acquiring)
      }
    }
  }

  private mutating func take(from source: FlowAccount, realtimeOffset: Int64) -> Int {
    guard let records = source.records else { return 0 }
    let interfaces = source.configuration.interfaces
    let count = records.drain(limit: FlowExportLoop.drainLimit) { record in
      let side = Int(record.key.ingressPort)
      let names = side < interfaces.count ? interfaces[side] : IPFIXEncoder.Interfaces()
      if encoder.append(record, names, realtimeOffset: realtimeOffset) { return }
      send()
      let isIn = encoder.append(record, names, realtimeOffset: realtimeOffset)
      precondition(isIn, "an empty message has room for a record")
    }
    add(UInt64(count), to: .records)
    return count
  }

  /// Sends the pending records, and the templates if they are due.
  private mutating func send() {
    let recordCount = encoder.pendingCount
    if recordCount == 0 { return }
    let now = SystemClock.monotonicNanoseconds()
    let seconds = UInt32(truncatingIfNeeded: SystemClock.realtimeNanoseconds() / 1_000_000_000)
    open(now)
    if let code = socket?.takePendingError(), code != 0 {
      // The collector may have been away: it must hear the templates again before it can understand anything.
      count(code)
      encoder.forgetTemplates()
    }
    if let templates = encoder.takeTemplates(exportSeconds: seconds, now: now), transmit(templates) != 0 {
      encoder.forgetTemplates()
    }
    guard let message = encoder.takeMessage(exportSeconds: seconds) else { return }
    if transmit(message) != 0 {
      add(UInt64(recordCount), to: .unsentRecords)
      encoder.forgetTemplates()
    }
  }

  private mutating func open(_ now: UInt64) {
    if socket != nil || now < opensAfter { return }
    do throws(SystemError) {
      socket = try UDPSocket(
        connectedTo: collector.address.bytes, port: collector.port, subject: "collector \(collector)")
    } catch {
      count(error.code)
      opensAfter = now &+ FlowExportLoop.reopenNanoseconds
    }
  }

  /// 0, or the `errno` that the message was not sent for.
  private mutating func transmit(_ message: [UInt8]) -> CInt {
    guard socket != nil else { return ENOTCONN }  // counted when it was opened
    var code = socket?.send(message) ?? ENOTCONN
    if code == EAGAIN, SystemClock.monotonicNanoseconds() < waitsUntil {
      socket?.waitUntilWritable(timeoutMilliseconds: FlowExportLoop.sendTimeoutMilliseconds)
      code = socket?.send(message) ?? ENOTCONN
    } else if code == ECONNREFUSED {
      // Of an earlier message; this one has not been tried yet.
      count(code)
      encoder.forgetTemplates()
      code = socket?.send(message) ?? ENOTCONN
    }
    if code != 0 {
      count(code)
      if ![EAGAIN, ENOBUFS, ENOMEM, ECONNREFUSED, EMSGSIZE].contains(code) {
        // A connected socket keeps the address that it sends from, and this machine may have another one now.
        socket = nil
        opensAfter = SystemClock.monotonicNanoseconds() &+ FlowExportLoop.reopenNanoseconds
      }
      return code
    }
    add(1, to: .messages)
    add(UInt64(message.count), to: .bytes)
    return 0
  }

  private func count(_ code: CInt) {
    switch code {
    case ECONNREFUSED: add(1, to: .refused)
    case ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN: add(1, to: .unreachable)
    case EAGAIN, ENOBUFS, ENOMEM: add(1, to: .noBuffer)
    case EMSGSIZE: add(1, to: .tooLong)
    default: add(1, to: .otherErrors)
    }
  }

  private func add(_ value: UInt64, to cell: FlowExporterShared.Cell) {
    shared.cells.store(shared.cells.load(cell.rawValue) &+ value, at: cell.rawValue)
  }
}
