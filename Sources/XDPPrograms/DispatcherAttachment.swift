import CXDP
import Glibc
import LinuxSystem

/// A program in libxdp's dispatcher, which runs several XDP programs on one interface in order of their priority.
///
/// libxdp pins the dispatcher's own links; a program that a killed daemon left behind is taken out at the next attach.
final class DispatcherAttachment: ProgramAttachment {
  let isNative: Bool
  let fallbackReason: String?
  var isDispatcher: Bool { true }
  private let program: OpaquePointer
  private let object: ProgramObject  // libxdp's program points into it
  private let interfaceIndex: CInt
  private let mode: xdp_attach_mode

  private init(
    _ program: OpaquePointer, _ object: ProgramObject, _ target: AttachTarget, isNative: Bool, fallbackReason: String?
  ) {
    self.program = program
    self.object = object
    self.isNative = isNative
    self.fallbackReason = fallbackReason
    interfaceIndex = CInt(target.index)
    mode = isNative ? XDP_MODE_NATIVE : XDP_MODE_SKB
  }

  deinit { xdp_program__close(program) }

  static func attach(_ object: ProgramObject, _ target: AttachTarget) throws(ProgramError) -> any ProgramAttachment {
    // libxdp looks programs up by their number, which the kernel grants CAP_SYS_ADMIN alone (bpf_prog_get_fd_by_id).
    if let effective = try? Capabilities.effective(), !effective.has(.sysAdmin) {
      throw .dispatcherUnavailable(
        interface: target.interface, reason: "libxdp needs CAP_SYS_ADMIN for it; use coexistence exclusive")
    }
    removeLeftBehind(on: target)
    guard let program = sluice_xdp_program_create(object.object, "sluice_xdp"),
      sluice_libxdp_error(UnsafeRawPointer(program)) == 0
    else { throw .dispatcherUnavailable(interface: target.interface, reason: "libxdp cannot use the program") }
    let (_, isNative, reason) = try attachInFirstMode(target) { mode in
      let result = xdp_program__attach(
        program, CInt(target.index), mode == .native ? XDP_MODE_NATIVE : XDP_MODE_SKB, 0)
      return (result == 0 ? true : nil, -result)
    }
    let attachment = DispatcherAttachment(program, object, target, isNative: isNative, fallbackReason: reason)
    guard attachment.isInDispatcher else {
      // Alone on the interface, and by netlink: libxdp's own detach doesn't find every such program.
      let flag = isNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE
      try checkBPF("detach from", target.interface) { bpf_xdp_detach(CInt(target.index), UInt32(flag), nil) }
      throw .dispatcherUnavailable(
        interface: target.interface,
        reason: "this libxdp and kernel cannot load it (libxdp attached the program alone instead); "
          + "use coexistence exclusive")
    }
    return attachment
  }

  /// libxdp falls back to attaching a program alone, silently for its caller.
  private var isInDispatcher: Bool {
    guard let programs = xdp_multiprog__get_from_ifindex(interfaceIndex),
      sluice_libxdp_error(UnsafeRawPointer(programs)) == 0
    else { return false }
    defer { xdp_multiprog__close(programs) }
    return !xdp_multiprog__is_legacy(programs)
  }

  private static func removeLeftBehind(on target: AttachTarget) {
    guard let programs = xdp_multiprog__get_from_ifindex(CInt(target.index)),
      sluice_libxdp_error(UnsafeRawPointer(programs)) == 0
    else { return }
    defer { xdp_multiprog__close(programs) }
    var stale: OpaquePointer?
    while let next = xdp_multiprog__next_prog(stale, programs) {
      stale = next
      if String(cString: xdp_program__name(next)) == "sluice_xdp" {
        _ = xdp_program__detach(next, CInt(target.index), xdp_multiprog__attach_mode(programs), 0)
        return
      }
    }
  }

  func programIdentifier() throws(ProgramError) -> UInt32 { xdp_program__id(program) }

  func replaceProgram(with object: ProgramObject) throws(ProgramError) {
    throw .system(
      systemError(
        "replace program", "", code: EOPNOTSUPP,
        remedy: "the rules need larger tables than a program in a libxdp dispatcher has, which cannot be replaced in place: "
          + "detach the interface, and attach it with coexistence exclusive"))
  }

  func isAttached(interfaceIndex: UInt32) -> Bool {
    xdp_program__is_attached(program, CInt(interfaceIndex)) != XDP_MODE_UNSPEC
  }

  func detach() throws(ProgramError) {
    try checkBPF("detach from dispatcher", "") { xdp_program__detach(program, interfaceIndex, mode, 0) }
  }
}
