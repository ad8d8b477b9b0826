;; What a user of dap-mode does, by its commands: emacs --batch --load emacs.el NAME FILE LINE
(setq load-prefer-newer t)
(package-initialize)
;; As docker/debug/README.md has it
(require 'dap-python)
(require 'dap-ui)
(setq dap-python-debugger 'debugpy)
(dap-register-debug-provider "debugpy" #'dap-python--populate-start-file-args)

(let* ((name (pop command-line-args-left))
       (file (pop command-line-args-left))
       (line (string-to-number (pop command-line-args-left)))
       (ended nil))
  ;; A user has been asked for the folder of the project.
  (lsp-workspace-folders-add (file-name-directory file))
  (add-hook 'dap-stack-frame-changed-hook
            (lambda (session)
              (let ((frame (dap--debug-session-active-frame session)))
                (when frame
                  (princ (json-encode (vector (gethash "path" (gethash "source" frame))
                                              (gethash "line" frame))))
                  (princ "\n")
                  (dap-continue session (dap--debug-session-thread-id session))))))
  (add-hook 'dap-terminated-hook (lambda (_) (setq ended t)))
  (find-file file)
  (forward-line (1- line))
  (dap-breakpoint-add)
  (dap-debug (cdr (assoc name (dap-launch-find-parse-launch-json))))
  (with-timeout (60 (princ "it did not end\n"))
    (while (not ended) (accept-process-output nil 0.1))))
