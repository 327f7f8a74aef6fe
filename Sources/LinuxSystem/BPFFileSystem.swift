import CLinuxShims
import Glibc

/// The BPF file system, where pinned links and maps outlive the process.
public enum BPFFileSystem {
  private static var magic: Int { 0xcafe_4a11 }

  public enum State: Hashable, Sendable {
    case wasMounted
    case mountedNow
  }

  /// Whether a BPF file system is at `path` (or `path` lies in one).
  public static func isPresent(at path: String) -> Bool {
    var information = statfs()
    return statfs(path, &information) == 0 && Int(information.f_type) & 0xffff_ffff == magic
  }

  /// Makes sure that a BPF file system is mounted at `path`: mounts one (mode 0700) where there is none.
  ///
  /// Mounting needs CAP_SYS_ADMIN; without it the error says how the operator does it.
  @discardableResult
  public static func ensure(at path: String) throws(SystemError) -> State {
    if isPresent(at: path) { return .wasMounted }
    let remedy = "mount it: mount -t bpf bpf \(path)"
    if access(path, F_OK) != 0 {
      do throws(SystemError) {
        try check("create directory", path) { mkdir(path, 0o700) }
      } catch { throw error.withRemedy(remedy) }
    }
    let flags = UInt(MS_NOSUID | MS_NODEV | MS_NOEXEC)
    do throws(SystemError) {
      try check("mount bpf", path) { mount("bpf", path, "bpf", flags, "mode=0700") }
    } catch {
      let lacksPrivilege = error.code == EPERM || error.code == EACCES
      throw error.withRemedy(lacksPrivilege ? "needs CAP_SYS_ADMIN, or \(remedy)" : remedy)
    }
    return .mountedNow
  }
}
