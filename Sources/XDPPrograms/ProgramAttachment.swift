import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Where a program shall be attached.
struct AttachTarget {
  let interface: String
  let index: UInt32
  let options: AttachOptions
  let pins: PinDirectory?

  /// What runs on the interface now, whoever attached it.
  func occupant() throws(ProgramError) -> Occupant? {
    var (native, generic, any): (UInt32, UInt32, UInt32) = (0, 0, 0)
    try checkBPF("query XDP program of", interface) { sluice_xdp_query(CInt(index), &native, &generic, &any) }
    let identifier = native != 0 ? native : generic != 0 ? generic : any
    guard identifier != 0 else { return nil }
    return Occupant(identifier: identifier, name: programName(identifier: identifier), isNative: native != 0)
  }

  /// Decides between a link of our own and libxdp's dispatcher; throws where neither can be.
  func mustJoinDispatcher() throws(ProgramError) -> Bool {
    if options.coexistence == .dispatcher { return true }
    guard let occupant = try occupant(), !LinkAttachment.isPinned(by: pins) else { return false }
    if occupant.isDispatcher, options.coexistence == .auto { return true }
    throw .interfaceBusy(
      interface: interface, programID: occupant.identifier, programName: occupant.name,
      remedy: remedy(for: occupant))
  }

  private func remedy(for occupant: Occupant) -> String {
    if occupant.isDispatcher {
      return "it is libxdp's dispatcher: attach with coexistence auto or dispatcher to join it"
    }
    let judgement =
      occupant.name.isEmpty
      ? "what it is can't be read without CAP_SYS_ADMIN" : "it is not libxdp's dispatcher, so nothing can join it"
    return "\(judgement): take it off first (ip link set dev \(interface) xdp off; a program held by a bpf_link goes with "
      + "its owner)"
  }

  /// The modes to try, in order.
  var modes: [AttachOptions.Mode] { options.mode == .auto ? [.native, .generic] : [options.mode] }
}

struct Occupant {
  let identifier: UInt32
  let name: String
  let isNative: Bool

  var isDispatcher: Bool { name == "xdp_dispatcher" }
}

/// A program on an interface, held by a link of ours or by libxdp.
protocol ProgramAttachment {
  var isNative: Bool { get }
  var fallbackReason: String? { get }
  var isDispatcher: Bool { get }
  func programIdentifier() throws(ProgramError) -> UInt32
  func isAttached(interfaceIndex: UInt32) -> Bool
  /// Puts another program in the place of this one, between two packets.
  func replaceProgram(with object: ProgramObject) throws(ProgramError)
  func detach() throws(ProgramError)
}

/// Tries native and generic in the order of the target's options.
///
/// - Returns: What `attach` gave, and why it isn't native although that came first.
func attachInFirstMode<Result>(
  _ target: AttachTarget, _ attach: (AttachOptions.Mode) -> (result: Result?, code: CInt)
) throws(ProgramError) -> (result: Result, isNative: Bool, fallbackReason: String?) {
  var reason: String?
  var lastCode: CInt = 0
  for mode in target.modes {
    let (result, code) = attach(mode)
    if let result { return (result, mode == .native, mode == .native ? nil : reason) }
    lastCode = code
    // Generic would fail alike for these: the program, the privilege or the interface is at fault, not the driver.
    if [EBUSY, EEXIST, EPERM, EACCES, ENODEV].contains(code) { break }
    reason = nativeRefusal(code)
  }
  if lastCode == EBUSY || lastCode == EEXIST, let occupant = try target.occupant() {
    throw .interfaceBusy(
      interface: target.interface, programID: occupant.identifier, programName: occupant.name,
      remedy: "it is in the way: take it off first")
  }
  throw .system(
    systemError(
      "attach XDP program to", target.interface, code: lastCode,
      remedy: target.options.mode == .native ? "\(nativeRefusal(lastCode)); mode auto or generic works" : nil))
}

private func nativeRefusal(_ code: CInt) -> String {
  let name = SystemError(operation: "", code: code, subject: "").codeName
  return switch code {
  case EOPNOTSUPP: "the driver has no native XDP (\(name))"
  case ERANGE, EMSGSIZE: "the driver refuses native XDP at this MTU (\(name))"
  case ENOSPC, ENOMEM: "the driver lacks queues or memory for native XDP (\(name))"
  default: "the driver refuses native XDP with this set-up (\(name)): MTU, queue count or LRO; the kernel log says more"
  }
}

/// A `bpf_link` of our own. It goes with its last descriptor or pin.
final class LinkAttachment: ProgramAttachment {
  let isNative: Bool
  let fallbackReason: String?
  var isDispatcher: Bool { false }
  private let link: OwnedDescriptor

  init(link: consuming OwnedDescriptor, isNative: Bool, fallbackReason: String?) {
    self.link = link
    self.isNative = isNative
    self.fallbackReason = fallbackReason
  }

  static func attach(_ object: ProgramObject, _ target: AttachTarget) throws(ProgramError) -> any ProgramAttachment {
    let program = try object.program()
    let (raw, isNative, reason) = try attachInFirstMode(target) { mode in
      let flag = mode == .native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE
      let result = sluice_xdp_link_create(program.rawValue, CInt(target.index), UInt32(flag))
      return (result >= 0 ? result : nil, -result)
    }
    let link = OwnedDescriptor(owning: raw)
    let attachment = LinkAttachment(link: link, isNative: isNative, fallbackReason: reason)
    if let pins = target.pins { try attachment.pin(in: pins) }
    return attachment
  }

  func pin(in pins: PinDirectory) throws(ProgramError) {
    let path = pins.path(of: "link")
    try checkBPF("pin link", path) { bpf_obj_pin(link.rawValue, path) }
  }

  /// The link that a daemon of another ABI version left, under the pins of this one from now on.
  static func takenOver(for target: AttachTarget) throws(ProgramError) -> LinkAttachment? {
    guard let pins = target.pins else { return nil }
    for others in pins.ofOtherVersions {
      let lock = try PinLock(others)
      defer { withExtendedLifetime(lock) {} }
      guard let link = try pinned(in: others, for: target) else { continue }
      try link.pin(in: pins)
      return link
    }
    return nil
  }

  private static func isPinned(in pins: PinDirectory) -> Bool { access(pins.path(of: "link"), F_OK) == 0 }

  /// Whether an earlier daemon of any version left a link.
  static func isPinned(by pins: PinDirectory?) -> Bool {
    guard let pins else { return false }
    return isPinned(in: pins) || pins.ofOtherVersions.contains(where: isPinned(in:))
  }

  /// The link that an earlier daemon left on the interface. Nil where there is none, where it lost its interface, or where
  /// it is in another mode than the one asked for; a link that can't serve is removed.
  static func pinned(in pins: PinDirectory?, for target: AttachTarget) throws(ProgramError) -> LinkAttachment? {
    guard let pins, isPinned(in: pins) else { return nil }
    let path = pins.path(of: "link")
    let link = OwnedDescriptor(owning: try checkBPF("open pin", path) { bpf_obj_get(path) })
    let occupant = try target.occupant()
    let info = try linkInfo(link)
    let isOurs = info.interfaceIndex == target.index && occupant?.identifier == info.programIdentifier
    let wanted = target.options.mode
    guard isOurs, let occupant, wanted == .auto || (wanted == .native) == occupant.isNative else {
      unlink(path)
      _ = bpf_link_detach(link.rawValue)  // fails where the interface is gone: then nothing is attached
      return nil
    }
    return LinkAttachment(
      link: link, isNative: occupant.isNative,
      fallbackReason: occupant.isNative ? nil : "generic since an earlier start of the daemon")
  }

  func replaceProgram(with object: ProgramObject) throws(ProgramError) {
    let program = try object.program()
    try checkBPF("update XDP link", "") { bpf_link_update(link.rawValue, program.rawValue, nil) }
  }

  func programIdentifier() throws(ProgramError) -> UInt32 { try linkInfo(link).programIdentifier }

  func isAttached(interfaceIndex: UInt32) -> Bool {
    guard let info = try? linkInfo(link) else { return false }
    return info.interfaceIndex == interfaceIndex
  }

  func detach() throws(ProgramError) {
    // bpf_link_detach needs 5.10; it works for every holder of the link at once. ENOLINK: detached already.
    let result = bpf_link_detach(link.rawValue)
    guard result == 0 || result == -ENOLINK else {
      throw .system(systemError("detach XDP link", "", code: -result))
    }
  }
}

extension PinDirectory {
  /// Of the interface that the pinned link attaches a program to, whatever it is called; nil: there is none.
  public var linkInterfaceIndex: UInt32? {
    let descriptor = bpf_obj_get(path(of: "link"))
    guard descriptor >= 0 else { return nil }
    let link = OwnedDescriptor(owning: descriptor)
    return (try? linkInfo(link)).flatMap { $0.interfaceIndex == 0 ? nil : $0.interfaceIndex }
  }
}

/// The interface index is 0 after the interface went away.
private func linkInfo(
  _ link: borrowing OwnedDescriptor
) throws(ProgramError) -> (programIdentifier: UInt32, interfaceIndex: UInt32) {
  var (identifier, index): (UInt32, UInt32) = (0, 0)
  let raw = link.rawValue
  try checkBPF("read link info", "") { sluice_xdp_link_info(raw, &identifier, &index) }
  return (identifier, index)
}
