import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// How the program should be attached.
public struct AttachOptions: Hashable, Sendable {
  public enum Mode: String, Hashable, Sendable, Codable, CaseIterable {
    /// Native, or generic where the driver can't.
    case auto
    /// In the driver.
    case native
    /// In the stack, after the driver has made an skb: any device, much slower.
    case generic
  }

  public enum Coexistence: String, Hashable, Sendable, Codable, CaseIterable {
    /// Joins a libxdp dispatcher that is there already, else attaches alone.
    case auto
    /// Attaches alone.
    case exclusive
    /// Attaches through libxdp's dispatcher, so that other programs can join.
    case dispatcher
  }

  public var mode: Mode
  public var coexistence: Coexistence

  public init(mode: Mode = .auto, coexistence: Coexistence = .auto) {
    self.mode = mode
    self.coexistence = coexistence
  }
}

/// The XDP program of one interface: attached from creation to ``detach()``.
///
/// Not for sharing between threads: the control thread owns it. Every call is a few system calls; none waits for packets.
public final class InterfaceProgram {
  public let interface: String
  public let interfaceIndex: UInt32
  public let isNative: Bool
  /// Why the program isn't in the driver although that was preferred.
  public let fallbackReason: String?
  /// The program of an earlier daemon was replaced in place: no packet went by undecided, counters went on.
  public let wasAdopted: Bool
  public private(set) var programIdentifier: UInt32
  /// Multi-buffer packets (jumbo frames on drivers with xdp.frags) are seen; needs Linux 5.18.
  public let supportsFrags: Bool
  /// Packets can be received by a ``ReceiverProgram``: not in a dispatcher, whose programs call no others.
  public let hasReceivers: Bool
  public var isInDispatcher: Bool { attachment.isDispatcher }
  /// What did not come over when larger tables last did: counts, or the pins that the next daemon begins with.
  public private(set) var warnings: [String] = []

  private var maps: ProgramMaps
  private let pins: PinDirectory?
  private let pinLock: PinLock?
  private let attachment: ProgramAttachment
  private let counterReader: CounterReader
  private var redirectTargets: Set<UInt32>
  private var shape: ProgramShape
  /// Whether the keys of counted elements are those of the live generation; not with the maps of an earlier daemon.
  private var knowsElements: Bool

  /// Loads the program and attaches it, deciding by `generation` from the first packet on. Where pins of an earlier daemon
  /// are found, takes their maps over and replaces the program in the pinned link; `generation` is then ignored, and the
  /// path stays. Of pins of another ABI version only the link is taken over: its program decides until this one does.
  ///
  /// In libxdp's dispatcher the generation follows the attachment: packets between pass, counted as `no_generation`. A program
  /// there has room from the start for rules that come later, and looks at all that they may ask for.
  ///
  /// - Parameters:
  ///   - pins: Where to pin; nil: the program goes with the process.
  ///   - generation: Bytes of a `struct sluice_generation`.
  ///   - elements: Of its sets that count; only `all` is asked.
  public init(
    interface: String, index: UInt32, options: AttachOptions, pins: PinDirectory?, generation: UnsafeRawBufferPointer,
    elements: CountedElements = CountedElements()
  ) throws(ProgramError) {
    let target = AttachTarget(interface: interface, index: index, options: options, pins: pins)
    var lock: PinLock?
    if let pins { lock = try PinLock(pins) }
    let reader = try CounterReader()
    var shape = ProgramShape(for: generation).withSpareElements()
    var attachment: (any ProgramAttachment)?
    var pinnedMaps: PinDirectory?
    let mustJoinDispatcher = try target.mustJoinDispatcher()
    if mustJoinDispatcher {
      shape = shape.forGood()
    } else if let pins, ProgramMaps.arePinned(in: pins) {
      shape = try ProgramMaps.pinnedShape(in: pins)
      pinnedMaps = pins
    }
    let hasReceivers = !mustJoinDispatcher && ProgramLoader.kernelHasReceivers
    let (object, supportsFrags) = try ProgramLoader.open(shape, hasReceivers: hasReceivers)
    if mustJoinDispatcher {
      attachment = try DispatcherAttachment.attach(object, target)  // libxdp loads it, as an extension of its dispatcher
    } else {
      if let pinnedMaps { try ProgramMaps.reusePinned(in: pinnedMaps, for: object) }
      try object.load()
    }
    var maps = try ProgramMaps(of: object, hasPinned: pinnedMaps != nil)
    redirectTargets = Set(try maps.devices.keys())
    let pinned = attachment == nil ? try LinkAttachment.pinned(in: pins, for: target) : nil
    let fits = shape.holds(generation)
    if pinned == nil, fits {
      try maps.elementCounters.reconcile(elements.all(), with: reader)
      maps.tables.publish(generation)
    }
    knowsElements = pinned == nil && fits
    if attachment == nil, pinnedMaps == nil, let pins { try maps.pin(in: pins) }
    do throws(ProgramError) {
      if attachment == nil {
        let link = if let pinned { pinned } else { try LinkAttachment.takenOver(for: target) }
        try link?.replaceProgram(with: object)
        attachment = link
      }
      let final = if let attachment { attachment } else { try LinkAttachment.attach(object, target) }
      programIdentifier = try final.programIdentifier()
      self.attachment = final
    } catch {
      if pinnedMaps == nil { pins?.remove() }
      throw error
    }
    self.interface = interface
    interfaceIndex = index
    self.supportsFrags = supportsFrags
    self.hasReceivers = hasReceivers
    self.shape = shape
    self.pins = pins
    lock?.use()
    pinLock = lock
    self.maps = maps
    counterReader = reader
    isNative = self.attachment.isNative
    fallbackReason = self.attachment.fallbackReason
    wasAdopted = pinned != nil
    pins?.ofOtherVersions.forEach { $0.remove() }
    // Pinned tables of an earlier daemon, whose link is gone.
    if pinned == nil, !fits { try grow(for: generation, elements) }
  }

  /// Makes a generation live in one atomic step: a packet sees it or the one before, whole. The one before stays if that
  /// fails; once it is live nothing does, see ``warnings``.
  ///
  /// Larger tables, and what the program doesn't read yet, come with a new program in the same link: also one step.
  ///
  /// - Parameters:
  ///   - redirectTargets: Interface indices that the generation redirects to.
  ///   - elements: Of its sets that count. Those that stay keep what they have counted.
  public func publish(
    _ generation: UnsafeRawBufferPointer, redirectTargets: Set<UInt32>, elements: CountedElements = CountedElements()
  ) throws(ProgramError) {
    let peer = try path().peer
    do throws(ProgramError) {
      for target in redirectTargets { try maps.devices.update(target, to: target) }
      try put(generation, elements)
    } catch {
      for target in redirectTargets.subtracting(self.redirectTargets) where target != peer { try? maps.devices.remove(target) }
      throw error
    }
    self.redirectTargets = redirectTargets
    let staleTargets = (try? staleTargets(keeping: peer)) ?? []  // what stays is found again by the next
    if elements.gone.isEmpty && staleTargets.isEmpty { return }
    maps.tables.waitForGracePeriod()  // packets in the previous generation may still go there, and count
    maps.elementCounters.remove(elements.gone)
    for target in staleTargets { try? maps.devices.remove(target) }
  }

  private func put(_ generation: UnsafeRawBufferPointer, _ elements: CountedElements) throws(ProgramError) {
    if !shape.holds(generation) {
      do throws(ProgramError) {
        return try grow(for: generation, elements)
      } catch {
        // Where no other program can be loaded now, as in a dispatcher, it may do without room for more.
        guard shape.holds(generation, withRoom: false) else { throw error }
      }
    }
    try makeKeys(of: elements)
    maps.tables.publish(generation)
  }

  /// Before a generation is live. Where the keys of both generations have no room beside each other, those that only the live
  /// one has go first: what the map was made for can always be gone back to.
  private func makeKeys(of elements: CountedElements) throws(ProgramError) {
    guard knowsElements else {
      try maps.elementCounters.reconcile(elements.all(), with: counterReader)
      knowsElements = true
      return
    }
    do throws(ProgramError) {
      try maps.elementCounters.insert(elements.new, with: counterReader)
    } catch .tooManyCountedElements where !elements.gone.isEmpty {
      maps.elementCounters.remove(elements.gone)
      do throws(ProgramError) { try maps.elementCounters.insert(elements.new, with: counterReader) } catch {
        takeBack(elements)
        throw error
      }
    }
  }

  /// After ``makeKeys(of:)``, for a generation that doesn't come to be live after all. What was counted at keys that went is lost.
  private func takeBack(_ elements: CountedElements) {
    maps.elementCounters.remove(elements.new)
    do throws(ProgramError) { try maps.elementCounters.insert(elements.gone, with: counterReader) } catch { knowsElements = false }
  }

  private func grow(for generation: UnsafeRawBufferPointer, _ elements: CountedElements) throws(ProgramError) {
    var needed = ProgramShape(for: generation)
    let hasMoreElements = needed.elementCount > shape.elementCount
    needed.elementCount = hasMoreElements ? needed.withSpareElements().elementCount : shape.elementCount
    // Counters live longer than rules: they don't shrink.
    needed.slotCount = max(needed.slotCount, shape.slotCount)
    let (object, _) = try ProgramLoader.open(needed, hasReceivers: hasReceivers)
    try maps.share(with: object, needed)
    try object.load()
    var new = try ProgramMaps(of: object)
    if hasMoreElements {
      try new.elementCounters.insert(elements.all(), with: counterReader)
    } else {
      try makeKeys(of: elements)
    }
    new.tables.publish(generation)
    do throws(ProgramError) {
      try attachment.replaceProgram(with: object)
    } catch {
      if !hasMoreElements { takeBack(elements) }
      throw error
    }
    // The new tables decide from here on, whatever else fails: what is changed later is changed there.
    programIdentifier = (try? attachment.programIdentifier()) ?? programIdentifier
    waitForPackets()  // in the previous program they still count in its counters
    var failures: [ProgramError?] = []
    if needed.slotCount > shape.slotCount {
      failures.append(maps.replaceRuleCounters(by: new.ruleCounters, with: counterReader, in: pins))
    }
    if hasMoreElements {
      failures.append(maps.replaceElementCounters(by: new.elementCounters, with: counterReader, in: pins))
      knowsElements = true
    }
    failures.append(maps.replaceTables(by: new.tables, in: pins))
    shape = needed
    warnings = failures.compactMap { $0.map { "larger tables came without all that the ones before had: \($0)" } }
  }

  /// Counters for rules: slots are below it.
  public var slotCount: UInt32 { shape.slotCount }

  /// The half of the tables that the live generation is in, to be changed under way. Valid until the next ``publish(_:redirectTargets:)``.
  public var liveHalf: LiveHalf { LiveHalf(maps.tables.liveHalf, owner: self) }

  /// Where the packets go that the rules pass; ``PacketPath/stack`` at first.
  public func path() throws(ProgramError) -> PacketPath { try maps.currentPath() }

  /// Leads the packets that the rules pass elsewhere, from now on and without losing any. Returns when none is on the old
  /// way any more.
  public func setPath(_ path: PacketPath) throws(ProgramError) {
    if let peer = path.peer { try maps.devices.update(peer, to: peer) }
    try maps.store(path)
    waitForPackets()
    for target in try staleTargets(keeping: path.peer) { try maps.devices.remove(target) }
  }

  /// Returns when no packet is under way any more that was when it was called: some 10 ms.
  public func waitForPackets() { maps.tables.barrier.wait() }

  private func staleTargets(keeping peer: UInt32?) throws(ProgramError) -> [UInt32] {
    try maps.devices.keys().filter { $0 != peer && !redirectTargets.contains($0) }
  }

  /// Hands the packets of `queue` that capture rules match, and on a path to user space all that the rules pass, to an
  /// AF_XDP socket.
  ///
  /// - Parameter receiver: Receives for the socket. Only where the program ``hasReceivers``.
  public func setSocket(_ descriptor: CInt, receiver: ReceiverProgram? = nil, queue: UInt32) throws(ProgramError) {
    if let receiver {
      try maps.receivers.update(queue, to: receiver.programDescriptor)
    } else {
      try maps.receivers.remove(queue)
    }
    try maps.sockets.update(queue, to: descriptor)
  }

  /// From now on the captured packets of these queues take the capture fallback, and a path to user space leads to its peer.
  /// Returns when none is on its way to the sockets any more.
  public func removeSockets(queues: some Sequence<UInt32>) {
    for queue in queues { try? maps.sockets.remove(queue) }
    waitForPackets()
    for queue in queues { try? maps.receivers.remove(queue) }
  }

  /// Packets and bytes that a rule decided or counted.
  public func ruleCounter(slot: UInt32) throws(ProgramError) -> PacketCount {
    try maps.ruleCounters.read(slot, with: counterReader)
  }

  /// For a slot that no live generation uses.
  public func clearRuleCounter(slot: UInt32) throws(ProgramError) { try maps.ruleCounters.clear(slot, with: counterReader) }

  /// Elements of sets that count, before they are put into the live tables. All or none; those that are there keep their counts.
  public func makeElementCounters(_ keys: [sluice_element_key]) throws(ProgramError) {
    try maps.elementCounters.insert(keys, with: counterReader)
  }

  /// After they were taken out of the live tables.
  public func removeElementCounters(_ keys: [sluice_element_key]) { maps.elementCounters.remove(keys) }

  /// Packets and bytes that rules counted at an element; nil: it is none of a live set that counts.
  public func elementCounter(_ key: sluice_element_key) throws(ProgramError) -> PacketCount? {
    try maps.elementCounters.read(key, with: counterReader)
  }

  /// All of them, in no order.
  public func elementKeys() throws(ProgramError) -> [sluice_element_key] { try maps.elementCounters.keys() }

  /// By `enum sluice_interface_counter`.
  public func interfaceCounters() throws(ProgramError) -> [PacketCount] {
    var counts: [PacketCount] = []
    for key in 0..<UInt32(SLUICE_COUNTERS.rawValue) {
      counts.append(try counterReader.read(maps.interfaceCounters, key))
    }
    return counts
  }

  /// Whether the program is still on the interface: false after the interface went away or somebody detached it.
  public func isAttached() -> Bool { attachment.isAttached(interfaceIndex: interfaceIndex) }

  /// Takes the program off the interface and removes its pins. The counters are gone with it.
  public func detach() throws(ProgramError) {
    pins?.remove()
    try attachment.detach()
  }
}
